"""Rows of a report with figures that are easy to find again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embedded_vit.compression.record import Measurements
from embedded_vit.evaluation.scores import Scores
from embedded_vit.report.rows import ReportRow


def example_scores(dice: float = 0.7) -> Scores:
    return Scores(
        dice=dice,
        jaccard=0.6,
        hd95=12.34,
        nsd=0.5,
        unit="voxels",
        cases=3,
        dice_interval=(dice - 0.1, dice + 0.1),
        organs={"liver": 0.9, "left <kidney>": None},
    )


def example_measurements(**figures: Any) -> Measurements:
    values: dict[str, Any] = {
        "validation": None,
        "test": example_scores(),
        "macs": 46_000_000,
        "parameters": 330_000,
        "nonzero_parameters": 330_000,
        "file_bytes": 1_420_000,
        "deflated_bytes": 1_230_000,
        "latency_ms": {"1": 9.0, "2": 7.0},
        "peak_memory_mib": 98.8,
    }
    return Measurements(**(values | figures))


def example_row(run: str = "runs/a", step: str = "", **figures: Any) -> ReportRow:
    original_dice = figures.pop("original_dice", None)
    latency_ms = figures.pop("taken_ms", {"1": 8.0, "2": 5.0})
    epochs = {name: figures.pop(name, 0) for name in ("epochs", "step_epochs")}
    measured = example_measurements(**figures)
    return ReportRow(Path(run), step, Path(run) / "model.onnx", measured, latency_ms, original_dice, **epochs)
