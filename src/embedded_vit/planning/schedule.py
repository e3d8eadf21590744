"""How many pixels a network sees and how long it trains, from the budgets and from what this computer can do."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedded_vit.counted import counted
from embedded_vit.field_of_view import FieldOfView
from embedded_vit.planning.decision import Decision
from embedded_vit.planning.fingerprint import Fingerprint
from embedded_vit.planning.pace import Pace
from embedded_vit.slicing import Orientation, across_slices

__all__ = ["SIZES", "Epochs", "Workload", "architecture_of", "choose_batch_size", "choose_epochs", "choose_size"]

SIZES = (
    32,
    64,
    96,
    128,
    160,
    192,
    224,
    256,
    320,
    384,
    448,
    512,
)  # half of each is a size too, for the training at half the size
FIVE_LEVELS = 256  # from this size on a fifth level lets the coarsest one see as much of the image as before
OVERSAMPLED = 2  # pixels of the network for one of the scan, as the logits have half as many
WIDE_ENOUGH, TOO_THIN = 16.0, 3.0  # pixels across the narrowest structure
PASSES_AT_128 = 10  # over the training slices at full size, and more at finer ones with the square of the size
FEWEST_PASSES = 4  # where a coarser image would show a structure too thin
COARSE_SHARE = 0.4  # of the time: training at half the size
TRAINING_SHARE = 0.75  # of the minutes, less what reading takes
LEAST_TRAINING = 0.25
FIXED_SECONDS = 45.0  # of export, scores and report
CASES_ARE_READ = 3  # times: prepared, looked at by the export, scored
VALIDATION_COST, EPOCH_SECONDS = 0.35, 0.3  # of a training step for the same slices; to write an epoch
SPARE = 1.4  # times the passes that fit: the clock ends a training, and a busy moment must not make it a short one
MOST_PASSES, MOST_STEPS = 300, 8000  # at full size: what gains nothing more
BATCH_SIZES = (24, 12, 8, 4)
FEWEST_STEPS_OF_A_PASS = 8


def architecture_of(size: int) -> tuple[str, dict[str, Any]]:
    """Return the preset, and what differs from it, of a network of an image size."""
    return ("conv-m" if size >= FIVE_LEVELS else "conv-s"), {"image_size": size}


@dataclass(frozen=True)
class Workload:
    """What a training has to go through.

    Attributes:
        slices: Slices of one pass over the training cases, empty ones as often as they are drawn.
        validated: Slices of the cases that select the weights.
        seconds: Time for the training, on this computer.
    """

    slices: int
    validated: int
    seconds: float

    @classmethod
    def of(
        cls,
        fingerprint: Fingerprint,
        train: Sequence[str],
        orientation: Orientation,
        *,
        minutes: float,
        empty_slice_weight: float,
        all_cases: int,
    ) -> Workload:
        """Count the slices, and subtract from the minutes what is not training."""
        shown = [fingerprint.cases[name] for name in train]
        labelled = sum(case.labelled_slices[orientation] for case in shown)
        empty = sum(case.slices(orientation) for case in shown) - labelled
        validated = sum(case.slices(orientation) for name, case in fingerprint.cases.items() if name not in train)
        reading = CASES_ARE_READ * all_cases * fingerprint.read_seconds
        seconds = max(LEAST_TRAINING * 60 * minutes, TRAINING_SHARE * 60 * minutes - reading - FIXED_SECONDS)
        return cls(round(labelled + empty_slice_weight * empty), validated, seconds)

    def steps(self, batch_size: int) -> int:
        """Return the optimizer steps of one pass."""
        return max(1, math.ceil(self.slices / batch_size))

    def epoch_seconds(self, size: int, batch_size: int, pace: Pace) -> float:
        """Return what one pass takes at an image size, with its validation."""
        trained = self.steps(batch_size) * batch_size
        return pace.seconds(size) * (trained + VALIDATION_COST * self.validated) + EPOCH_SECONDS


@dataclass(frozen=True)
class Epochs:
    """Passes at half of the image size, and then at the full one."""

    coarse: int
    full: int


def choose_batch_size(workload: Workload) -> Decision[int]:
    """Take 24 slices per step, fewer where a pass would have less than eight steps."""
    for size in BATCH_SIZES:
        if workload.slices >= FEWEST_STEPS_OF_A_PASS * size:
            return Decision(size, f"{size} slices per step, {workload.steps(size)} steps per pass")
    return Decision(BATCH_SIZES[-1], f"{BATCH_SIZES[-1]} slices per step, as there are only {workload.slices}")


def choose_size(
    fingerprint: Fingerprint,
    orientation: Orientation,
    field: Mapping[str, Any],
    workload: Workload,
    *,
    batch_size: int,
    pace: Pace,
    latency_ms: float | None,
    latency_of: Callable[[int], float],
) -> Decision[int]:
    """Take as many pixels as help, as are trained for long enough, and as are labelled fast enough.

    Args:
        fingerprint: Of the training cases.
        orientation: Of the slices.
        field: Settings of the field of view.
        workload: Of the training.
        batch_size: Slices a step.
        pace: Of this computer.
        latency_ms: The most that a slice may take; None for no limit.
        latency_of: Measures a size.
    """
    native = native_pixels(fingerprint, orientation, field)
    shares = narrowest_shares(fingerprint, orientation, field)
    name, share = min(shares.items(), key=lambda each: each[1])
    sizes = [size for size in SIZES if size <= OVERSAMPLED * native] or [SIZES[0]]
    enough = next((size for size in sizes if share * size >= WIDE_ENOUGH), sizes[-1])
    reason = "as fine as the scans are" if enough == sizes[-1] else f"{name} is {share * enough:.0f} pixels wide"
    size = enough
    while size > SIZES[1]:
        smaller = SIZES[SIZES.index(size) - 1]
        passes, wanted = _passes(size, workload, batch_size, pace), PASSES_AT_128 * (size / 128) ** 2
        if passes >= (min(wanted, FEWEST_PASSES) if share * smaller < TOO_THIN else wanted):
            break
        size, reason = smaller, "no finer one is trained long enough in this time"
    if latency_ms is not None:
        size, reason = _fast_enough(size, reason, latency_ms, latency_of)
    thin = [f"{each} ({part * size:.1f})" for each, part in shares.items() if part * size < TOO_THIN]
    warning = f"; less than {TOO_THIN:g} pixels wide, so do not expect much of them: {', '.join(thin)}" if thin else ""
    return Decision(size, f"{size} x {size} pixels: {reason}; the scans show {native:.0f}{warning}")


def _passes(size: int, workload: Workload, batch_size: int, pace: Pace) -> float:
    seconds = workload.seconds * (1 - COARSE_SHARE if size > SIZES[1] else 1)
    return seconds / workload.epoch_seconds(size, batch_size, pace)


def _fast_enough(size: int, reason: str, latency_ms: float, latency_of: Callable[[int], float]) -> tuple[int, str]:
    """Return the largest size, at most the given one, that is measured to be fast enough."""
    found_ms = latency_of(size)
    while found_ms > latency_ms and size > SIZES[0]:
        smaller = [each for each in SIZES if each < size]
        # Latency grows a little slower than the number of pixels, so this size is too small rather than too large.
        likely = [each for each in smaller if found_ms * (each / size) ** 2 <= latency_ms]
        size = max(likely, default=smaller[0])
        found_ms = latency_of(size)
        reason = "no finer one is fast enough"
    measured = f"{found_ms:.2f} ms per slice on one thread here, {latency_ms:g} are allowed"
    return size, f"{reason}; {measured}" if found_ms <= latency_ms else f"still too slow: {measured}"


def choose_epochs(size: int, workload: Workload, *, batch_size: int, pace: Pace) -> Decision[Epochs]:
    """Divide the time between half of the image size and the full one, a little more than fits."""
    steps = workload.steps(batch_size)
    most = max(MOST_PASSES, MOST_STEPS // steps)
    coarse_share = COARSE_SHARE if size > SIZES[1] else 0.0
    half = max(SIZES[0], size // 2)
    coarse = int(SPARE * coarse_share * workload.seconds / workload.epoch_seconds(half, batch_size, pace))
    full = int(SPARE * (1 - coarse_share) * workload.seconds / workload.epoch_seconds(size, batch_size, pace))
    epochs = Epochs(min(coarse, most // 2), max(1, min(full, most)))
    milliseconds = 1000 * pace.seconds(size) * batch_size
    stages = f"{counted(epochs.full, 'pass', 'passes')} at {size} pixels"
    if epochs.coarse:
        stages = f"{counted(epochs.coarse, 'pass', 'passes')} at {half} pixels, then {epochs.full} at {size}"
    return Decision(
        epochs,
        f"{stages}, or as many as fit in the time: {counted(steps, 'step')} of {milliseconds:.0f} ms per pass",
    )


def native_pixels(fingerprint: Fingerprint, orientation: Orientation, field: Mapping[str, Any]) -> float:
    """Return how many pixels of the scans lie along the side of the field of view, as a median over cases."""
    in_plane = {0, 1, 2} - {across_slices(orientation)}
    sides = []
    for case in fingerprint.figures:
        side = field.get("field_mm") or case.side(orientation, _kind(field))
        sides.append(side / min(case.spacing[number] for number in in_plane))
    return float(np.median(sides))


def narrowest_shares(fingerprint: Fingerprint, orientation: Orientation, field: Mapping[str, Any]) -> dict[str, float]:
    """Return structure -> the median of its width over the side of the field of view."""
    found: dict[str, list[float]] = {}
    for case in fingerprint.figures:
        side = field.get("field_mm") or case.side(orientation, _kind(field))
        for name, structure in case.structures.items():
            found.setdefault(name, []).append(structure.width[orientation] / side)
    return {name: float(np.median(shares)) for name, shares in found.items()}


def _kind(field: Mapping[str, Any]) -> FieldOfView:
    kind: FieldOfView = field.get("field_of_view", "slice")
    return kind
