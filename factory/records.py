"""Tests of experiments that outlive their folders, as `RECORDS/TRAINING/EXPERIMENT/MODEL.json`.

The experiments of a training take days of machines that forget everything. What counts of a test, a few kilobytes, is
therefore kept where it can be committed, and stands for the folder where that is gone.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from embedded_vit.config import Config
from embedded_vit.errors import ConfigError
from embedded_vit.evaluation.evaluating import METRICS_FILE
from embedded_vit.io.atomic import write_text
from embedded_vit.io.json_file import read_json_object
from factory import table
from factory.folders import ModelFolders

__all__ = ["keep_record", "metrics_of"]

FORGOTTEN = ("source", "seeds", "spacing_range", "context_mm", "voxel_ml", "height_mm", "phantoms")  # change no figure
COUNTED = ("mean", "units", "organs", "cases")  # of `metrics.json`


class Record(Config):
    """The test of an experiment, and what was tested."""

    made_by: dict[str, Any]
    metrics: dict[str, Any]


def keep_record(folders: ModelFolders, experiment: str) -> None:
    """Keep the test of an experiment, if the command said where."""
    path = folders.record(experiment)
    if path is None:
        return
    metrics = json.loads((folders.evaluation(experiment) / METRICS_FILE).read_text())
    record = Record(made_by=made_by(folders), metrics={name: metrics[name] for name in COUNTED})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, record.model_dump_json(indent=1) + "\n", overwrite=True)


def metrics_of(folders: ModelFolders, experiment: str) -> dict[str, Any] | None:
    """Return what `metrics.json` says of an experiment, from its folder or from its record; None where it has neither.

    A record of a model that was trained or compressed in another way does not count.

    Raises:
        ConfigError: The record cannot be read.
    """
    path = folders.evaluation(experiment) / METRICS_FILE
    if path.exists():
        metrics: dict[str, Any] = json.loads(path.read_text())
        return metrics
    kept = folders.record(experiment)
    if kept is None or not kept.exists():
        return None
    record = Record.parse(read_json_object(kept, ConfigError, hint="remove the file"), source=str(kept))
    return record.metrics if record.made_by == made_by(folders) else None


def made_by(folders: ModelFolders) -> dict[str, Any]:
    """Return how the model is trained and compressed, as JSON has it."""
    trainings = {}
    for name in table.trainings_for(folders.model.training):
        entry = asdict(table.TRAININGS[name])
        trainings[name] = {key: value for key, value in entry.items() if key not in FORGOTTEN}
    found: dict[str, Any] = json.loads(json.dumps({"trainings": trainings, "plan": folders.model.plan}))
    return found
