from __future__ import annotations

from pathlib import Path

import pytest

from embedded_vit.costs import energy
from embedded_vit.costs.energy import EnergyCounters, NoEnergyCounter


def package(root: Path, name: str, energy_uj: int, range_uj: int = 1_000_000) -> Path:
    zone = root / name
    zone.mkdir(parents=True)
    (zone / "energy_uj").write_text(f"{energy_uj}\n")
    (zone / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return zone


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds


def test_joules_a_query_are_those_of_all_packages_and_no_part_counts_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = [package(tmp_path, "intel-rapl:0", 100), package(tmp_path, "intel-rapl:1", 999_000)]
    core_of_the_first = package(tmp_path, "intel-rapl:0:0", 0)
    clock = Clock()
    monkeypatch.setattr(energy, "time", clock)

    def query() -> None:
        clock.seconds += 0.5
        for zone in [*packages, core_of_the_first]:
            counter = zone / "energy_uj"
            counter.write_text(str((int(counter.read_text()) + 30_000) % 1_000_000))  # the second begins again at 0

    assert EnergyCounters.find(tmp_path).joules_per_query(query, seconds=1.9) == pytest.approx(0.06)
    assert clock.seconds == 2


def test_a_query_longer_than_the_time_is_still_answered_once(tmp_path: Path) -> None:
    package(tmp_path, "intel-rapl:0", 100)
    calls: list[int] = []
    assert EnergyCounters.find(tmp_path).joules_per_query(lambda: calls.append(1), seconds=0) == 0
    assert calls == [1]


def test_without_a_counter_there_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(NoEnergyCounter, match="no RAPL counter"):
        EnergyCounters.find(tmp_path)
    (package(tmp_path, "intel-rapl:0", 100) / "energy_uj").unlink()
    with pytest.raises(NoEnergyCounter, match="cannot be read: No such file"):
        EnergyCounters.find(tmp_path)
