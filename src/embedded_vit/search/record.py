"""The record of all trials: `search.json`, `search.csv` and `search.png`, written again after each trial."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from pydantic import Field

from embedded_vit.about import RESEARCH_USE_ONLY
from embedded_vit.columns import csv_text, in_columns
from embedded_vit.config import Config
from embedded_vit.counted import counted
from embedded_vit.engines import EngineName
from embedded_vit.io.atomic import atomic_path, write_text
from embedded_vit.pareto import pareto_front
from embedded_vit.printable import printable
from embedded_vit.search.space import Candidate, SearchSettings

__all__ = ["SearchRecord", "TrialRecord", "outcome_text", "train_command", "with_front", "write_record"]

FILE = "search"  # .json, .csv, .png
DOTS_PER_INCH = 120
BLUE, RED, GREY = "#1b6ca8", "#d1495b", "0.6"


class TrialRecord(Config):
    """One trial."""

    number: int
    state: Literal["trained", "over budget", "failed"]
    candidate: Candidate
    macs: int
    parameters: int
    latency_ms: float | None = Field(
        description="at the speed when the search began; None where the MACs or parameters were over budget"
    )
    measured_ms: float | None = Field(description="latency at the time of the measurement")
    reference_ms: float | None = Field(description="latency of the reference network, measured in turns")
    validation_dice: float | None = Field(
        default=None, description="mean Dice, strict protocol, on the scans' own grid"
    )
    front: bool = Field(default=False, description="no other trained network is as fast and segments better")
    inherited_from: int | None = Field(default=None, description="trial whose weights it started from")
    inherited_part: float = Field(default=0.0, description="fraction of its weights that was inherited")
    trained_epochs: int = Field(default=0, description="its own epochs plus those of the trials that it inherited from")
    same_as: int | None = Field(default=None, description="earlier trial of the same candidate, with the same figures")
    failure: str = ""
    seed: int
    machine: str
    seconds: float


class SearchRecord(Config):
    """The content of `search.json`."""

    use: str = RESEARCH_USE_ONLY
    settings: SearchSettings
    data_folder: str
    validation: tuple[str, ...] = Field(description="the cases that select")
    reference_ms: float = Field(description="latency of the reference network when the search began")
    engine: EngineName | None = Field(
        default=None, description="engine that measured latency; older files do not name it"
    )
    trials: tuple[TrialRecord, ...]
    best: int | None = Field(description="trial with the best Dice within the budget")
    command: str | None = Field(description="command that trains the best candidate in full")
    versions: dict[str, str]

    @property
    def front(self) -> list[TrialRecord]:
        """The trials on the Pareto front, by rising latency."""
        return sorted((trial for trial in self.trials if trial.front), key=lambda trial: trial.latency_ms or 0.0)


def with_front(trials: Sequence[TrialRecord]) -> tuple[TrialRecord, ...]:
    """Mark the trials on the Pareto front of validation Dice against latency."""
    front = {point.trial for point in _front(_points(trials))}
    return tuple(trial.model_copy(update={"front": trial.number in front}) for trial in trials)


class _Point(NamedTuple):
    """A candidate that was trained and scored."""

    trial: int
    latency_ms: float
    dice: float


def _points(trials: Sequence[TrialRecord]) -> list[_Point]:
    """Return latency and Dice of the trained candidates, each candidate once."""
    return [
        _Point(trial.number, trial.latency_ms, trial.validation_dice)
        for trial in trials
        if trial.latency_ms is not None and trial.validation_dice is not None and trial.same_as is None
    ]


def _front(points: Sequence[_Point]) -> list[_Point]:
    return pareto_front(points, cost=lambda point: point.latency_ms, quality=lambda point: point.dice)


def train_command(candidate: Candidate, settings: SearchSettings, data_folder: Path, output: Path) -> str:
    """Return the command that trains a candidate in full, on the same split."""
    if candidate.model is None:
        network: dict[str, Any] = {
            "family": candidate.family if candidate.family != "dual" else None,
            "image-size": candidate.image_size,
            "widths": candidate.widths,
            "depth": None if candidate.family == "unet" else candidate.depth,
            "hidden-ratio": None if candidate.family == "unet" else candidate.hidden_ratio,
            "convolution-widths": candidate.convolution_widths or None,
            "stem-stride": candidate.stem_stride if candidate.stem_stride != 1 else None,
        }
    else:
        words_of = tuple(option_words(candidate)) or None
        network = {"model": candidate.model, "model-options": words_of, "image-size": candidate.image_size}
    options: dict[str, Any] = {
        "data": data_folder,
        **network,
        "context-slices": candidate.context_slices,
        "precision": settings.precision,
        "validation-cases": settings.validation_cases,
        "seed": settings.seed,
        "output": output,
    }
    words = ["embedded-vit", "train"]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name}", *map(str, value if isinstance(value, tuple) else [value])]
    return shlex.join(words)


def option_words(candidate: Candidate) -> list[str]:
    """Return the options of a user's own network as the command line takes them."""
    values = {name: str(value) for name, value in candidate.options.items()}
    return [f"{name}={value.lower() if value in ('True', 'False') else value}" for name, value in values.items()]


def outcome_text(record: SearchRecord, output: Path) -> str:
    """Summarise the search for the terminal.

    Args:
        record: The search.
        output: Its folder.
    """
    budget = record.settings.budget
    if record.command is None:
        latencies_ms = [trial.latency_ms for trial in record.trials if trial.latency_ms is not None]
        fastest = f"; the fastest took {min(latencies_ms):.2f} ms" if latencies_ms else ""
        none = f"none of {counted(len(record.trials), 'trial')} is within {budget}{fastest}; more --trials may find one"
        return f"{printable(output)}: {none}"
    trained = sum(trial.state == "trained" and trial.same_as is None for trial in record.trials)
    return "\n".join(
        [
            f"trials: {len(record.trials)}, trained within {budget}: {trained}; the Pareto front, * marks the best:",
            "",
            _front_table(record),
            "",
            "Dice is measured on the validation patients after a short training. To train the best in full:",
            printable(record.command),
            "",
            f"{printable(output / FILE)}.json, .csv, .png; {RESEARCH_USE_ONLY}",
        ]
    )


def _front_table(record: SearchRecord) -> str:
    """Return the Pareto front as a table, by rising latency; a star marks the best."""
    rows = [("trial", "Dice", "epochs", "ms", "M MACs", "M weights", "pixels", "slices", *_columns(record.settings))]
    for trial in record.front:
        candidate = trial.candidate
        rows.append(
            (
                f"{trial.number}{' *' if trial.number == record.best else ''}",
                f"{trial.validation_dice:.3f}",
                str(trial.trained_epochs),
                f"{trial.latency_ms:.2f}",
                f"{trial.macs / 1e6:.1f}",
                f"{trial.parameters / 1e6:.2f}",
                str(candidate.image_size),
                str(candidate.context_slices),
                *_columns(record.settings, candidate),
            )
        )
    return "\n".join(in_columns(rows))


def _columns(settings: SearchSettings, candidate: Candidate | None = None) -> tuple[str, ...]:
    """Return the columns of a candidate that its space has; their headers where none is given."""
    if settings.space is not None:
        return ("network",) if candidate is None else (" ".join([str(candidate.model), *option_words(candidate)]),)
    last = "convolutions" if settings.family in ("dual", "unet") else "stem"
    family = ("family",) if settings.family == "fast" else ()
    if candidate is None:
        return (*family, "widths", "depth", "ratio", last)
    around = " ".join(map(str, candidate.convolution_widths)) or "none"
    own: tuple[str, ...] = (str(candidate.depth), str(candidate.hidden_ratio), around)
    if candidate.family == "hybrid":
        own = (*own[:2], str(candidate.stem_stride))
    elif family:
        own = ("-", "-", "-")  # a U-Net has none
    return (*(candidate.family for _ in family), " ".join(map(str, candidate.widths)), *own)


def write_record(folder: Path, record: SearchRecord) -> None:
    """Write the three files, in place of older ones.

    Raises:
        OutputError: The folder cannot be written or the disk is full.
    """
    path = folder / FILE
    write_text(path.with_suffix(".json"), record.model_dump_json(indent=1) + "\n", overwrite=True)
    write_text(path.with_suffix(".csv"), _csv(record.trials), overwrite=True)
    with atomic_path(path.with_suffix(".png"), overwrite=True) as temporary:
        _figure(record).savefig(temporary, dpi=DOTS_PER_INCH)


def _csv(trials: Sequence[TrialRecord]) -> str:
    names = [name for name in TrialRecord.model_fields if name != "candidate"]
    rows = []
    for trial in trials:
        candidate = trial.candidate.model_dump()
        lists = {name: " ".join(map(str, candidate[name])) for name in ("widths", "convolution_widths")}
        lists["options"] = " ".join(option_words(trial.candidate))
        rows.append(trial.model_dump(exclude={"candidate"}) | candidate | lists)
    return csv_text([*names, *Candidate.model_fields], rows)


def _figure(record: SearchRecord) -> Figure:
    """Draw validation Dice against latency: trained candidates, the front, and below it those over the budget."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    points = _points(record.trials)
    front = _front(points)
    for point in points:
        axes.plot(point.latency_ms, point.dice, "o", color=BLUE if point in front else GREY)
        axes.annotate(str(point.trial), (point.latency_ms, point.dice), (5, 4), textcoords="offset points")
    axes.step([point.latency_ms for point in front], [point.dice for point in front], where="post", color=BLUE)
    out = [trial.latency_ms for trial in record.trials if trial.state == "over budget" and trial.latency_ms is not None]
    if out:
        axes.plot(out, [0.02] * len(out), "|", color=RED, transform=axes.get_xaxis_transform(), label="over budget")
        axes.legend(frameon=False)
    if record.settings.budget.name == "latency_ms":
        axes.axvline(record.settings.budget.limit, color=RED, linewidth=1, linestyle="--")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(f"median of one image, {record.settings.engine}, threads: {record.settings.threads} (ms)")
    axes.set_ylabel("mean Dice of the validation cases")
    axes.set_title(
        f"epochs: {record.settings.epochs}, budget: {record.settings.budget}\n{RESEARCH_USE_ONLY}", fontsize=9
    )
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
