"""What a figure was measured on."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedded_vit.provenance import describe_machine, governor, processor_flags, this_machine


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
    machine = this_machine(tmp_path)
    assert (machine.flags, machine.governor) == ((), None)
    assert machine.cores >= 1


def test_the_line_and_the_fields_tell_the_same(tmp_path: Path) -> None:
    machine, line = this_machine(), describe_machine()
    for fact in (machine.processor, machine.architecture, f"{machine.cores} cores", machine.system.split()[0]):
        assert fact in line
