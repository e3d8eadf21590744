"""How many epochs fit into the time that a training has."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

__all__ = ["epochs_in_time"]

LATEST = 5  # epochs whose median counts where it is slower than the mean: the computer has other work now
JUDGED_FROM = 3  # epochs; the first ones are slower than the others
JUDGED_WITHIN = 0.2  # of the time: a training of few long epochs cannot wait for the third


def epochs_in_time(seconds: Sequence[float], epochs: int, limit: float | None) -> int:
    """Return the number of epochs of a training.

    The answer for the first N epochs is the same however often it is asked for, so a training that was killed goes on
    as it would have gone on. It falls where epochs take longer than planned, and never rises.

    Args:
        seconds: Of each epoch that is done.
        epochs: Epochs that were planned.
        limit: Seconds for all of them; None for as long as they take.
    """
    if limit is None:
        return epochs
    used = 0.0
    for done, each in enumerate(seconds, start=1):
        used += each
        if done >= JUDGED_FROM or used > JUDGED_WITHIN * limit:
            pace = max(used / done, median(seconds[max(0, done - LATEST) : done]))
            affordable = done + int(max(0.0, limit - used) / pace)
            epochs = max(done, min(epochs, affordable))
        if done == epochs:
            break
    return epochs
