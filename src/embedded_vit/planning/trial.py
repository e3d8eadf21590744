"""A short training that compares plans: what one cannot tell from the data alone is tried."""

from __future__ import annotations

import tempfile
from pathlib import Path

from embedded_vit.datasets.data_set import DataSet
from embedded_vit.planning.build_plan import BuildPlan
from embedded_vit.training.progress import TrainingListener
from embedded_vit.training.training import train_planned

__all__ = ["measured_dice"]


def measured_dice(data_set: DataSet, plan: BuildPlan, *, device: str = "cpu") -> float | None:
    """Train as a plan says for its minutes, and return the best Dice of the validation cases; None without any."""
    with tempfile.TemporaryDirectory(prefix="embedded-vit-") as folder:
        record = train_planned(
            *(data_set, plan.run_config(data_set), Path(folder) / "run"),
            split=plan.split_of(data_set),
            device=device,
            seconds_limit=60 * plan.minutes,
            listener=TrainingListener(),
        )
    epochs = () if record is None else record.epochs
    return max((epoch.validation_dice for epoch in epochs if epoch.validation_dice is not None), default=None)
