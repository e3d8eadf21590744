"""The progress of a training: a bar on a terminal, one line for each epoch in a file."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from typing_extensions import Self

from embedded_vit.training.checkpoint import EpochMetrics

__all__ = ["TrainingProgress"]


class TrainingProgress:
    """A display of epoch, loss, validation Dice, images per second and time left.

    Args:
        epochs: Epochs of the whole training.
        done: Epochs that a resumed training has behind it.
        silent: Whether to show nothing; only the first process shows something.
    """

    def __init__(self, epochs: int, *, done: int = 0, silent: bool = False) -> None:
        self.epochs = epochs
        self.console = Console(stderr=True, quiet=silent)
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=silent or not self.console.is_terminal,
        )
        self.task = self.bar.add_task("", total=epochs, completed=done, epoch=f"{done}/{epochs}", figures="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def batch_done(self, fraction: float) -> None:
        """Show that a fraction of an epoch is done."""
        self.bar.update(self.task, advance=fraction)

    def epoch_done(self, row: EpochMetrics) -> None:
        """Show the figures of an epoch that is done."""
        dice = "" if row.validation_dice is None else f" · validation Dice {row.validation_dice:.3f}"
        figures = f"loss {row.loss:.4f}{dice} · {row.images_per_second:.0f} images/s"
        self.bar.update(self.task, completed=row.epoch, epoch=f"{row.epoch}/{self.epochs}", figures=figures)
        if not self.console.is_terminal:
            left = row.seconds * (self.epochs - row.epoch) / 60
            self.console.print(f"epoch {row.epoch}/{self.epochs} · {figures} · {left:.1f} min left", highlight=False)
