"""Who listens to a build: nobody, or one bar over all stages with the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from embedded_vit.build.record import STAGES, StageName
from embedded_vit.printable import printable
from embedded_vit.training.checkpoint import EpochMetrics
from embedded_vit.training.progress import TrainingListener

__all__ = ["BuildBar", "BuildListener", "EpochsOfAStage"]

SHARES: dict[StageName, float] = {
    "plan": 0.03,
    "prepare": 0.07,
    "train": 0.7,
    "compress": 0.0,
    "export": 0.07,
    "score": 0.13,
}
PACE_IS_KNOWN = 0.03  # fraction of a stage after which its pace says how long it will take
WORDS: dict[StageName, str] = {
    "plan": "looking at the data",
    "prepare": "preparing slices",
    "train": "training",
    "compress": "compressing",
    "export": "exporting",
    "score": "scoring on held-out patients",
}


class BuildListener:
    """A listener that shows nothing; a subclass overrides what it shows."""

    def say(self, line: str) -> None:
        """Hear a line for the user."""

    def expect(self, seconds: Mapping[StageName, float]) -> None:
        """Hear how long stages are expected to take, as far as known now."""

    def planned(self, minutes: float, seconds: Mapping[StageName, float]) -> None:
        """Hear how long the build may take, and what the stages took that are done."""

    @contextmanager
    def stage(self, name: StageName) -> Iterator[None]:
        """Enclose a stage."""
        yield

    def advance(self, fraction: float, figures: str = "") -> None:
        """Hear which fraction of the present stage is done, and its latest figures."""


class BuildBar(BuildListener):
    """One bar over all stages with the time left on a terminal; a line for each stage and some epochs in a file."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[figures]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("", total=1.0, left="", figures="")
        self.expected: dict[StageName, float] = dict.fromkeys(STAGES, 0.0)
        self.taken: dict[StageName, float] = {}
        self.now: StageName | None = None
        self.figures = ""
        self.begun, self.fraction, self.printed = 0.0, 0.0, -1.0
        self.first: tuple[float, float] | None = None  # fraction and time at which this process began with the stage

    def __enter__(self) -> BuildBar:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self.console.out(printable(line), highlight=False)

    def expect(self, seconds: Mapping[StageName, float]) -> None:
        """Take over how long stages will take."""
        self.expected.update(seconds)
        self._show("")

    def planned(self, minutes: float, seconds: Mapping[StageName, float]) -> None:
        """Divide the time among the stages, and count what is done."""
        self.taken.update(seconds)
        self.expect({name: SHARES[name] * 60 * minutes for name in STAGES})

    @contextmanager
    def stage(self, name: StageName) -> Iterator[None]:
        """Name the stage beside the bar."""
        self.now, self.begun, self.fraction, self.printed, self.first = name, time.monotonic(), 0.0, -1.0, None
        self._show("")
        if not self.console.is_terminal:
            self.say(f"{WORDS[name]} ...")
        yield
        self.taken[name] = time.monotonic() - self.begun
        self.now = None

    def advance(self, fraction: float, figures: str = "") -> None:
        """Move the bar; where there is no terminal, print figures at every tenth of a stage."""
        self.fraction = min(1.0, fraction)
        self._learn_the_pace()
        if figures and not self.console.is_terminal and fraction - self.printed >= 0.1:
            self.printed = fraction
            self.say(f"{WORDS[self.now or 'plan']}: {fraction:.0%} · {figures} · {self._minutes_left()}")
        self._show(figures)

    def _learn_the_pace(self) -> None:
        """Replace what was expected of the present stage by what its pace says."""
        now = time.monotonic()
        if self.first is None:
            self.first = (self.fraction, now)
        gone = self.fraction - self.first[0]
        if self.now is not None and gone > PACE_IS_KNOWN:
            self.expected[self.now] = (now - self.first[1]) / gone

    def _seconds_left(self) -> float:
        left = sum(self.expected[name] for name in STAGES if name not in self.taken and name != self.now)
        return left + (0.0 if self.now is None else (1 - self.fraction) * self.expected[self.now])

    def _minutes_left(self) -> str:
        left = self._seconds_left()
        return f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left"

    def _show(self, figures: str) -> None:
        gone = sum(self.taken.values())
        if self.now is not None:
            gone += self.fraction * self.expected[self.now]
        self.figures = figures or self.figures
        self.bar.update(
            self.task,
            completed=gone,
            total=max(gone + self._seconds_left(), 1e-3),
            description=WORDS[self.now] if self.now else "",
            left=self._minutes_left(),
            figures=self.figures,
        )


class EpochsOfAStage(TrainingListener):
    """Turns the epochs of one or more trainings into the progress of one stage.

    Args:
        listener: Hears of the stage.
        parts: The share of the stage that each training takes, in their order.
    """

    def __init__(self, listener: BuildListener, parts: Sequence[float]) -> None:
        self.listener, self.parts = listener, list(parts)
        self.part, self.epochs, self.done, self.figures = -1, 1, 0.0, ""

    @contextmanager
    def preparation(self, names: Sequence[str]) -> Iterator[Callable[[str], None]]:
        """Say nothing: slices are prepared in a stage before."""
        yield lambda name: None

    @contextmanager
    def training(self, epochs: int, *, done: int) -> Iterator[None]:
        """Go on to the next training."""
        self.part, self.epochs, self.done = self.part + 1, epochs, float(done)
        yield

    def batch_done(self, fraction: float) -> None:
        """Move on."""
        self.done += fraction
        self._tell("")

    def epoch_done(self, row: EpochMetrics, epochs: int) -> None:
        """Tell the figures of the epoch."""
        self.done, self.epochs = float(row.epoch), epochs
        dice = "" if row.validation_dice is None else f"validation Dice {row.validation_dice:.3f}"
        self._tell(dice or f"loss {row.loss:.3f}")

    def _tell(self, figures: str) -> None:
        before, part = sum(self.parts[: self.part]), self.parts[min(self.part, len(self.parts) - 1)]
        self.listener.advance(min(1.0, before + part * self.done / self.epochs), figures)
