from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from embedded_vit.costs import machine_state
from embedded_vit.costs.machine_state import CoreTimes


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_system_that_says_nothing_gives_none(tmp_path: Path) -> None:
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
