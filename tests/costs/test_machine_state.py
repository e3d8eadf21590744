from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from embedded_vit.costs import machine_state
from embedded_vit.costs.machine_state import CoreTimes, describe_processor, governor, processor_flags


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("cpuinfo", "flags"),
    [
        (
            "processor : 0\nflags\t\t: fpu avx2 sse4_2 avx512_vnni avx rdrand\n",
            ("sse4_2", "avx", "avx2", "avx512_vnni"),
        ),
        ("processor\t: 0\nFeatures\t: fp asimd evtstrm asimddp i8mm\n", ("asimd", "asimddp", "i8mm")),
        ("model name : flags avx2\n", ()),
    ],
    ids=["x86", "ARM", "none"],
)
def test_flags_that_matter_are_found_under_both_names(tmp_path: Path, cpuinfo: str, flags: tuple[str, ...]) -> None:
    write(tmp_path, "proc/cpuinfo", cpuinfo)
    assert processor_flags(tmp_path) == flags


def test_cores_of_one_governor_give_one_name_and_mixed_ones_give_all(tmp_path: Path) -> None:
    for core, name in enumerate(["performance", "performance"]):
        write(tmp_path, f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor", f"{name}\n")
    assert governor(tmp_path) == "performance"
    write(tmp_path, "sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "ondemand\n")
    assert governor(tmp_path) == "ondemand, performance"


def test_a_system_that_says_nothing_gives_none(tmp_path: Path) -> None:
    machine = describe_processor(tmp_path)
    assert (machine.flags, machine.governor) == ((), None)
    assert machine.cores >= 1
    assert CoreTimes.now(tmp_path) is None


def test_what_others_use_is_what_is_busy_less_our_own() -> None:
    before = CoreTimes(wall=100, busy=50, own=10)
    assert before.other_cores_busy(CoreTimes(wall=110, busy=65, own=18)) == pytest.approx(0.7)
    assert before.other_cores_busy(CoreTimes(wall=110, busy=57.9, own=18)) == 0  # ticks are coarse


def test_only_our_own_cores_count_and_idle_time_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_state.os, "sched_getaffinity", lambda _: {1, 3})
    # user nice system idle iowait irq softirq steal guest guest_nice
    lines = ["cpu  9 9 9 9 9 9 9 9 9 9", *(f"cpu{core} 100 20 30 4000 500 6 7 8 50 5" for core in range(4))]
    write(tmp_path, "proc/stat", "\n".join([*lines, "intr 12345"]))
    moment = CoreTimes.now(tmp_path)
    assert moment is not None
    assert moment.busy == pytest.approx(2 * (100 + 20 + 30 + 6 + 7 + 8) / os.sysconf("SC_CLK_TCK"))
    assert moment.own <= time.process_time()
