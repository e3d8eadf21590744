"""How a training gets on: who listens to it, and a bar on a terminal or one line for each epoch in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from embedded_vit.printable import bar_text
from embedded_vit.training.checkpoint import EpochMetrics

__all__ = ["TrainingListener", "TrainingProgress"]


class TrainingListener:
    """A listener that shows nothing; a subclass overrides what it shows."""

    def image_size(self, pixels: int) -> None:
        """Hear at which image size the next training is, where there are two."""

    @contextmanager
    def preparation(self, names: Sequence[str]) -> Iterator[Callable[[str], None]]:
        """Enclose the preparation of slices; give the function to call after each case."""
        yield lambda name: None

    @contextmanager
    def training(self, epochs: int, *, done: int) -> Iterator[None]:
        """Enclose the epochs of a training, of which a resumed one has some behind it."""
        yield

    def batch_done(self, fraction: float) -> None:
        """Hear that a fraction of an epoch is done."""

    def epoch_done(self, row: EpochMetrics, epochs: int) -> None:
        """Hear the figures of an epoch, and how many epochs there are as far as known now."""


class TrainingProgress(TrainingListener):
    """A display of epoch, loss, validation Dice, images per second and time left, on stderr."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bar, self.task = Progress(), TaskID(0)

    def image_size(self, pixels: int) -> None:
        """Print the image size."""
        self.console.print(f"at {pixels} pixels:", highlight=False)

    @contextmanager
    def preparation(self, names: Sequence[str]) -> Iterator[Callable[[str], None]]:
        """Show which case was prepared last."""
        with self.console.status("preparing slices") as status:
            yield lambda name: status.update(
                f"preparing slices: {bar_text(name)} ({names.index(name) + 1}/{len(names)})"
            )

    @contextmanager
    def training(self, epochs: int, *, done: int) -> Iterator[None]:
        """Show a bar on a terminal."""
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("", total=epochs, completed=done, epoch=f"{done}/{epochs}", figures="")
        with self.bar:
            yield

    def batch_done(self, fraction: float) -> None:
        """Move the bar."""
        self.bar.update(self.task, advance=fraction)

    def epoch_done(self, row: EpochMetrics, epochs: int) -> None:
        """Show the figures of an epoch, or print them where there is no terminal."""
        dice = "" if row.validation_dice is None else f" · validation Dice {row.validation_dice:.3f}"
        figures = f"loss {row.loss:.4f}{dice} · {row.images_per_second:.0f} images/s"
        self.bar.update(self.task, completed=row.epoch, total=epochs, epoch=f"{row.epoch}/{epochs}", figures=figures)
        if not self.console.is_terminal:
            left = row.seconds * (epochs - row.epoch) / 60
            self.console.print(f"epoch {row.epoch}/{epochs} · {figures} · {left:.1f} min left", highlight=False)
