"""Whether a scan is a CT in Hounsfield units, decided from how its voxels are distributed.

Stored numbers whose intercept was lost, 8-bit pictures and scaled arrays have air where soft tissue should be, and
soft tissue where bone should be. One voxel of padding says nothing, so everything here is a share of the volume, and
padding is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.volume import TRAINING_ORIENTATION, Scan

__all__ = ["hounsfield_problems"]

SAMPLED_SLICES, SAMPLED_PIXELS = 32, 2**13  # at most so many slices, and pixels of each
LOWEST_HU = -1024.0  # numbers that are not above it stand for "not measured": -1024, -2000, -3024
LONE_GAP_HU = 50.0  # a lowest number that lies further below the next one is padding too
PADDING_VALUES = 3  # at most: the rim of the reconstruction, that of the resampling, a single bad voxel
DARKER_THAN_AIR_HU, MOST_DARKER = -1200.0, 0.25  # noise of a sharp kernel reaches so far, and not so often

FAT_OR_DARKER_HU = -50.0
FAT_HU = (-200.0, -30.0)
SOFT_TISSUE_HU = (-150.0, 300.0)  # fat and blood with contrast agent included
TISSUE_HU = (-150.0, 850.0)  # trabecular bone too
RAW_TISSUE = (850.0, 1300.0)  # fat and soft tissue in stored numbers that lack the intercept of -1000 or -1024
LEAST_SHARE = 0.005  # of tissue in any scan: a wrist in the middle of a wide field of view
FEW = 0.01
MOST_BONE = 0.2  # of a crop without fat and air; an MR has as much or more above soft tissue
FEWEST_NUMBERS = 8  # that tissue shows; where it has less the image was drawn, and its lowest number is its air
NARROWEST_HU = 15.0  # noise alone spreads soft tissue further


def hounsfield_problems(
    scan: Scan, channel_names: Sequence[str] = ("CT",), *, orientation: str = TRAINING_ORIENTATION
) -> Iterator[str]:
    """Yield why a scan cannot be in HU, a sentence for each channel; nothing where it may be.

    Args:
        scan: In any orientation.
        channel_names: Of a scan of several channels only those are looked at that have CT in their name.
        orientation: How it is cut into slices; a scan on the disk can be read in no other way.
    """
    looked_at = list(range(scan.channels))
    if scan.channels > 1:
        looked_at = [number for number, name in enumerate(channel_names) if "CT" in name.upper()]
    sampled = _sample(scan.reoriented(orientation))
    for channel in looked_at:
        if reason := _reason(sampled[channel]):
            yield f"a CT in HU is expected, but {reason}"


def _sample(scan: Scan) -> NDArray[np.float32]:
    """Return evenly spaced intensities: (channels, voxels)."""
    slices, rows, columns = scan.shape
    step = max(1, round((rows * columns / SAMPLED_PIXELS) ** 0.5))
    chosen = np.linspace(0, slices - 1, min(slices, SAMPLED_SLICES)).round().astype(int)
    planes = [scan.stored(int(index))[:, ::step, ::step].reshape(scan.channels, -1) for index in chosen]
    return np.concatenate(planes, axis=1).astype(np.float32) * np.float32(scan.slope) + np.float32(scan.intercept)


def _reason(sampled: NDArray[np.float32]) -> str | None:
    """Say what is wrong with the sampled intensities of a channel; None where nothing is."""
    darker = sampled[sampled < DARKER_THAN_AIR_HU]
    if darker.size > MOST_DARKER * sampled.size:
        constants = np.sort(np.unique(darker, return_counts=True)[1])[-PADDING_VALUES:].sum()
        if darker.size - constants > MOST_DARKER * sampled.size:
            return f"{100 * darker.size / sampled.size:.0f} % of it is below {DARKER_THAN_AIR_HU:g}, darker than air"
    values = _without_padding(sampled)
    if _share(values, *TISSUE_HU) < LEAST_SHARE:
        return f"less than {100 * LEAST_SHARE:g} % of it lies between {_range(TISSUE_HU)}, where tissue lies"
    fat, raw = _share(values, *FAT_HU), _share(values, *RAW_TISSUE)
    dark, less_dense = _share(values, -np.inf, FAT_HU[1]), _share(values, SOFT_TISSUE_HU[1], RAW_TISSUE[0])
    if raw > max(FEW, dark, 2 * fat, less_dense):
        return (
            f"{100 * raw:.0f} % of it lies between {_range(RAW_TISSUE)}, where bone is rare and where tissue lies when "
            "the intercept of -1024 is lost"
        )
    ends = [values.size // 100, values.size - 1 - values.size // 100]
    low, high = np.partition(values, ends)[ends].tolist()
    at_zero, at_255 = float((values == 0).mean()), float((values == 255).mean())
    if low >= 0 and high <= 255 and high - low >= NARROWEST_HU and max(at_zero, at_255) > 0.05:
        return "its numbers run from 0 to 255, as those of a picture do"
    if _share(values, -np.inf, FAT_OR_DARKER_HU) >= FEW:
        return None
    return _reason_of_crop(values, low, high)


def _reason_of_crop(values: NDArray[np.float32], low: float, high: float) -> str | None:
    """As `_reason`, for a volume without fat and air, as a crop out of an organ is.

    Args:
        values: Without padding.
        low, high: Their percentiles 1 and 99.
    """
    lowest = float(values.min())
    # Only the noise around 0 HU tells a crop of bone from another image.
    most_bone = FEW if lowest >= 0 else MOST_BONE
    clipped = float((values == lowest).mean())
    if high - low < NARROWEST_HU or clipped > FEW or _share(values, *SOFT_TISSUE_HU) < 1 - most_bone:
        return f"nothing here is below {lowest:.4g}: no fat, no air"
    return None


def _without_padding(values: NDArray[np.float32]) -> NDArray[np.float32]:
    values = values[values > LOWEST_HU]
    for _ in range(PADDING_VALUES):
        lowest = values.min(initial=np.inf)
        rest = values[values > lowest]
        if not rest.size or rest.min() - lowest < LONE_GAP_HU or np.unique(rest).size < FEWEST_NUMBERS:
            break
        values = rest
    return values


def _share(values: NDArray[Any], low: float, high: float) -> float:
    """Return the share of values from `low` to below `high`; 0 of none."""
    return float(((values >= low) & (values < high)).mean()) if values.size else 0.0


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:g} and {ends[1]:g}"
