"""The two accuracy gates of MLPerf: whether a model keeps 99 % and 99.9 % of the float32 model's Dice."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from embedded_vit.artifact.manifest import read_artifact
from embedded_vit.config import Config
from embedded_vit.counted import counted
from embedded_vit.errors import DataSetError

__all__ = ["Accuracy", "Dice", "measure_accuracy", "need_evaluation"]


class Dice(Config):
    """The Dice of one model."""

    mean: float | None = Field(description="mean over structures of each structure's mean over cases, strict protocol")
    interval: tuple[float, float] | None = Field(
        description="95 % bootstrap interval over patients; None for a single patient"
    )


class Accuracy(Config):
    """Dice of the models on test cases, and the gate between them."""

    data: str = Field(description="the data set's name")
    cases: int
    engine: str = Field(description="engine that computed the masks; it may differ from the engine that was timed")
    dice: tuple[Dice, ...] = Field(description="Dice of each model")
    keeps_99_percent: bool | None = Field(description="whether the second model keeps 99 % of the first's Dice")
    keeps_99_9_percent: bool | None
    no_gate_because: str | None = Field(description="why both of these are None")
    notes: tuple[str, ...] = Field(description="notes on the choice of cases, one sentence each")

    @property
    def kept(self) -> float | None:
        """The second model's Dice divided by the first's."""
        if len(self.dice) < 2 or not self.dice[0].mean or self.dice[1].mean is None:
            return None
        return self.dice[1].mean / self.dice[0].mean


def need_evaluation() -> None:
    """Raise ModuleNotFoundError at once where the libraries that score masks are not installed."""
    import embedded_vit.evaluation.evaluating  # noqa: F401


def measure_accuracy(models: Sequence[Path], folder: Path, *, threads: int) -> Accuracy:
    """Score one model or two on the test cases of a data set, strict protocol, in ONNX Runtime.

    Args:
        models: Artifacts; the first is the reference.
        folder: A data set with their structures.
        threads: Threads to compute on.

    Raises:
        DataSetError: The data set does not fit a model, or the models test on different cases.
        FileFormatError: A model or a scan cannot be read.
    """
    from embedded_vit.evaluation.evaluating import evaluate

    with tempfile.TemporaryDirectory() as scratch:
        evaluations = [
            evaluate(model, folder, output=Path(scratch) / str(index), threads=threads)
            for index, model in enumerate(models)
        ]
    cases = [tuple(case.name for case in evaluation.cases) for evaluation in evaluations]
    if len(set(cases)) > 1:
        raise DataSetError(
            f"{folder}: {models[0]} tests on {counted(len(cases[0]), 'case')}, {models[1]} on {len(cases[1])}, "
            "and they are not "
            "the same; compare models that were trained with the same split"
        )
    overall = [evaluation.summaries["dice"].overall for evaluation in evaluations]
    dice = tuple(
        Dice(mean=each.mean, interval=None if each.low is None or each.high is None else (each.low, each.high))
        for each in overall
    )
    objection = _objection(models, dice)
    first, last = dice[0].mean, dice[-1].mean

    def keeps(part: float) -> bool | None:
        return None if objection or first is None or last is None else last >= part * first

    return Accuracy(
        data=evaluations[0].provenance.data["name"],
        cases=len(cases[0]),
        engine="onnxruntime",
        dice=dice,
        keeps_99_percent=keeps(0.99),
        keeps_99_9_percent=keeps(0.999),
        no_gate_because=objection,
        notes=evaluations[0].notes,
    )


def _objection(models: Sequence[Path], dice: Sequence[Dice]) -> str | None:
    """Return why there is no gate; None where there is one."""
    if len(models) == 1:
        return "a gate needs two models"
    _, manifest = read_artifact(models[0])
    if manifest.precision != "fp32":
        return f"the first model is {manifest.precision}; a gate needs a float32 model first"
    if dice[0].mean is None or dice[1].mean is None:
        return "these cases hold no structure"
    if dice[0].mean == 0:
        return "the first model finds nothing"
    return None
