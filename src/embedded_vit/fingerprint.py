"""The intensity fingerprint: how bright each channel of the training scans was once normalised, and a scan's own.

A scan whose channels come in another order, or that is of another sequence or body part, is normalised without
complaint and segmented wrongly. Its brightness within the body tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from embedded_vit.config import Config
from embedded_vit.preprocessing import Grid, Intensities, Preprocessing
from embedded_vit.volume import Scan

__all__ = ["IntensityFingerprint", "brightness", "fingerprint_mismatches", "sampled", "scan_brightness"]

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
SAMPLED_SLICES = 16
MOST_DEVIATIONS = 6.0  # how many standard deviations of the training scans a scan may be off ...
LEAST_DEVIATION = 0.04  # ... each of at least this much of the range from 0 to 1
MUCH_NEARER = 0.5  # another order of the channels fits better if its distance is below this part of the given order's
MOST_PERMUTED = 6  # channels


class IntensityFingerprint(Config):
    """The brightness of the training scans: for each channel, at each of five quantiles of the voxels in the body."""

    mean: tuple[tuple[float, ...], ...] = Field(description="(channels, quantiles), from 0 to 1")
    deviation: tuple[tuple[float, ...], ...] = Field(description="standard deviation between scans, likewise")

    @classmethod
    def of(cls, scans: Iterable[NDArray[np.float64]]) -> IntensityFingerprint | None:
        """Summarise the `brightness` of scans; those without any voxel in the body do not count."""
        found = [each for each in scans if np.isfinite(each).all()]
        if not found:
            return None
        every = np.stack(found)  # (scans, channels, quantiles)
        mean, deviation = every.mean(axis=0).round(4).tolist(), every.std(axis=0).round(4).tolist()
        return cls(mean=tuple(map(tuple, mean)), deviation=tuple(map(tuple, deviation)))


def sampled(slices: int) -> NDArray[np.int64]:
    """Return the slices of a scan that its brightness is measured on: at most 16, evenly spread."""
    return np.linspace(0, slices - 1, min(slices, SAMPLED_SLICES)).round().astype(np.int64)


def brightness(images: NDArray[np.floating]) -> NDArray[np.float64]:
    """Measure how bright each channel of a scan is where it is neither black nor padding.

    Args:
        images: (slices, channels, S, S) in [-1, 1], as the network sees them, without context.

    Returns:
        (channels, quantiles) in [0, 1]; NaN where a channel is black.
    """
    found = np.full((images.shape[1], len(QUANTILES)), np.nan)
    for channel, values in enumerate(np.moveaxis(images, 1, 0)):
        inside = (values[values > -1].astype(np.float64) + 1) / 2
        if inside.size:
            found[channel] = np.quantile(inside, QUANTILES)
    return found


def scan_brightness(scan: Scan, preprocessing: Preprocessing) -> NDArray[np.float64]:
    """Measure a scan's `brightness`; it may have any orientation."""
    upright = scan.reoriented(preprocessing.orientation)
    intensities, grid = Intensities.of(upright, preprocessing), Grid.of(upright, preprocessing)
    reduced = [grid.reduce(intensities.normalise(upright.intensities(int(i)))) for i in sampled(upright.shape[0])]
    return brightness(2 * np.stack(reduced) - 1)


def fingerprint_mismatches(
    fingerprint: IntensityFingerprint, found: NDArray[np.float64], channels: tuple[str, ...]
) -> list[str]:
    """Say in what a scan's brightness differs from that of the training scans, one sentence each.

    Args:
        fingerprint: Of the training scans.
        found: The `brightness` of the scan, (channels, quantiles).
        channels: Their names.
    """
    mean = np.array(fingerprint.mean)
    deviation = np.maximum(np.array(fingerprint.deviation), LEAST_DEVIATION)
    if mean.shape != found.shape:
        return []
    black = [name for name, values in zip(channels, found, strict=True) if not np.isfinite(values).all()]
    if black:
        return [f"channel {black[0]} is black: it holds nothing but the darkest intensity"]
    # (given, expected): how far the channel that was given is from the channel that was expected there
    apart = np.sqrt((((found[:, None] - mean) / deviation) ** 2).mean(axis=2))
    count = len(channels)
    if 1 < count <= MOST_PERMUTED:
        costs = {order: float(sum(apart[order[place], place] for place in range(count))) for order in
                 permutations(range(count))}  # fmt: skip
        given, best = tuple(range(count)), min(costs, key=costs.__getitem__)
        if best != given and costs[best] < MUCH_NEARER * costs[given] and costs[given] > count:
            came = [channels[best.index(place)] for place in range(count)]
            return [
                f"the channels look as if they came as {', '.join(came)} and not as {', '.join(channels)}; check their "
                "order"
            ]
    return [
        f"channel {name} is {'brighter' if values.mean() > expected.mean() else 'darker'} or of another contrast than "
        f"in any training scan (median {values[len(QUANTILES) // 2]:.2f} of the range, "
        f"{expected[len(QUANTILES) // 2]:.2f} in training): check the sequence and the body part"
        for name, values, expected, distance in zip(channels, found, mean, np.diag(apart), strict=True)
        if distance > MOST_DEVIATIONS
    ]
