"""`make any-network`: every network gets a row, whatever became of it, and a target that was missed is said."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from types import ModuleType

import pytest

from embedded_vit.compression.record import CompressionRecord, Measurements, StageRecord
from embedded_vit.errors import NetworkError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("any_network")


def stage(name: str, milliseconds: float, before: float | None, note: str = "") -> StageRecord:
    """A stage that took so long, and the stage before it in turns."""
    measured = Measurements(
        validation=None,
        test=None,
        macs=round(20e6 * milliseconds),
        parameters=1,
        nonzero_parameters=1,
        file_bytes=1,
        deflated_bytes=1,
        latency_ms={"1": milliseconds},
        previous_latency_ms=None if before is None else {"1": before},
        peak_memory_mib=1.0,
    )
    facts = {"note": note} if note else {}
    return StageRecord(name=name, artifact=name, measured=measured, gate_subset="train", seconds=1, facts=facts)


def record_of(*stages: StageRecord) -> CompressionRecord:
    values = {"original": "run", "data_folder": "data", "recipe": {}, "machine": "", "versions": {}}
    return CompressionRecord(stages=stages, **values)


def test_a_network_that_fails_has_a_row_with_the_reason(script: ModuleType, tmp_path: Path, monkeypatch) -> None:
    def refused(*_: object) -> CompressionRecord:
        raise NetworkError("Mine: PyTorch cannot trace it")

    monkeypatch.setattr(script, "compressed", refused)
    row = script.finished_row("mixed", argparse.Namespace(output=tmp_path))
    assert row.text == "| mixed | - | - | - | Mine: PyTorch cannot trace it |"


def test_a_missed_target_is_said_below_the_table(script: ModuleType, monkeypatch) -> None:
    monkeypatch.setattr(script, "engines", lambda artifact: "openvino 1e-06")
    missed = "a latency of 0.50 of before cannot be reached: with 40.0% of the MACs 62% of it is left; 63% is taken"
    stages = [stage("original", 10.0, None), stage("prune_channels", 6.3, 10.0, missed)]
    stages.append(stage("quantize", 6.3, 6.3, "not taken, the float file stays: int8 takes 1.20 of it"))
    row = script.row_of("swin-unet", record_of(*stages), Path("out"))
    assert row.text == "| swin-unet | 200 / 126 | 10.0 / 6.3 (0.63) / not faster | - / - / - | openvino 1e-06 |"
    assert row.note == f"swin-unet: {missed}"


def test_a_target_that_was_reached_needs_no_words(script: ModuleType, monkeypatch) -> None:
    monkeypatch.setattr(script, "engines", lambda artifact: "")
    note = "channels are chosen by MACs: no table"
    stages = [stage("original", 10.0, None), stage("prune_channels", 5.0, 10.0, note)]
    row = script.row_of("unet", record_of(*stages, stage("quantize", 4.0, 5.0, "int8 takes 0.80 of it")), Path("out"))
    assert "| 10.0 / 5.0 (0.50) / 4.0 (0.80) |" in row.text
    assert row.note == ""
