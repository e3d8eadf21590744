"""The journal of a training for people: a CSV log, TensorBoard, curves and previews."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from embedded_vit.columns import csv_text
from embedded_vit.io.atomic import atomic_path, output_errors, write_text
from embedded_vit.labels import LabelSet
from embedded_vit.overlay import overlay
from embedded_vit.training.checkpoint import EpochMetrics

mpl.use("Agg")
import matplotlib.pyplot as plt
from tensorboard.summary.writer import event_file_writer
from torch.utils.tensorboard import SummaryWriter

__all__ = ["Journal"]

CURVES_EVERY_SECONDS = 15
TENSORBOARD = "tensorboard"


@contextmanager
def _nameless_host() -> Iterator[None]:
    """Keep the computer's name out of the names of TensorBoard's files, which are passed on."""
    original = event_file_writer.socket
    event_file_writer.socket = SimpleNamespace(gethostname=lambda: "host")
    try:
        yield
    finally:
        event_file_writer.socket = original


class Journal:
    """The files log.csv, tensorboard/, curves.png and previews/ of a run. Each file is always written whole."""

    def __init__(self, folder: Path, *, first_epoch: int) -> None:
        self.folder = folder
        with _nameless_host(), output_errors(folder / TENSORBOARD):
            self.tensorboard = SummaryWriter(str(folder / TENSORBOARD), purge_step=first_epoch)
            self.tensorboard.flush()
        self.curves_drawn = -math.inf

    def record(self, history: Sequence[EpochMetrics], *, last: bool) -> None:
        """Write the log of all epochs so far, and the curves every 15 seconds and after the last epoch."""
        latest = history[-1]
        with output_errors(self.folder / TENSORBOARD):  # which a thread of TensorBoard writes
            for name, value in latest.model_dump(exclude={"epoch"}).items():
                if value is not None:
                    self.tensorboard.add_scalar(name, value, latest.epoch)
            self.tensorboard.flush()
        log = csv_text(list(EpochMetrics.model_fields), (row.model_dump() for row in history))
        write_text(self.folder / "log.csv", log, overwrite=True)
        if last or time.monotonic() - self.curves_drawn > CURVES_EVERY_SECONDS:
            self._draw_curves(history)
            self.curves_drawn = time.monotonic()

    def preview(
        self,
        epoch: int,
        images: NDArray[np.float32],
        truth: NDArray[np.uint8],
        predicted: NDArray[np.uint8],
        labels: LabelSet,
    ) -> None:
        """Draw image, truth and prediction of a few slices side by side.

        Args:
            epoch: The epoch, which names the file.
            images: (B, S, S) in [-1, 1].
            truth, predicted: (B, S, S) labels.
            labels: For the colours.
        """
        # As radiologists look: anterior up, the patient's right on the left.
        grey = ((images + 1) * 127.5).astype(np.uint8).swapaxes(1, 2)  # (B, column, row)
        rows = [
            np.concatenate(
                [overlay(picture, mask.T, labels) for picture, mask in zip(grey, masks, strict=True)], axis=1
            )
            for masks in (np.zeros_like(truth), truth, predicted)
        ]
        picture = np.concatenate(rows)
        path = self.folder / "previews" / f"epoch-{epoch:04d}.png"
        with atomic_path(path, overwrite=True) as temporary:
            plt.imsave(temporary, picture.repeat(2, axis=0).repeat(2, axis=1))

    def close(self) -> None:
        """Close the TensorBoard log."""
        with output_errors(self.folder / TENSORBOARD):
            self.tensorboard.close()

    def _draw_curves(self, history: Sequence[EpochMetrics]) -> None:
        epochs = [row.epoch for row in history]
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
        left.plot(epochs, [row.loss for row in history], color="#0072B2")
        left.set(xlabel="epoch", ylabel="training loss", title="Loss")
        validated = [(row.epoch, row.validation_dice) for row in history if row.validation_dice is not None]
        if validated:
            right.plot(*zip(*validated, strict=True), color="#D55E00")
        else:
            right.text(0.5, 0.5, "no validation cases", ha="center", transform=right.transAxes)
        right.set(xlabel="epoch", ylabel="mean Dice", ylim=(0, 1), title="Validation, on the network's grid")
        for axes in (left, right):
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        with atomic_path(self.folder / "curves.png", overwrite=True) as temporary:
            figure.savefig(temporary, dpi=110)
        plt.close(figure)
