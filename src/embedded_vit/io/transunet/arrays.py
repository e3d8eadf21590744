"""What TransUNet's numbers and axes mean, and the checks that its slices and volumes share.

TransUNet stores a CT as numbers from 0 to 1, which stand for -125 to 275 HU (2102.04306, and its Synapse
preprocessing). Resizing by splines leaves 0 to 1 a little, so numbers within `WINDOWED` are taken as such. Numbers
that spread over hundreds are taken as HU; what is neither is refused. The arrays run to the patient's head (slices),
left (rows) and back (columns) and carry no spacing, so lengths are in voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embedded_vit.errors import FileFormatError
from embedded_vit.io.limits import check_array_size
from embedded_vit.preprocessing import CT_WINDOW_HU
from embedded_vit.volume import UPRIGHT_AFFINE, Volume

__all__ = ["StoredRange", "check_array", "finite", "stored_numbers", "volume_of"]

LOWEST_HU, HIGHEST_HU = CT_WINDOW_HU
WINDOWED = (-0.5, 1.5)  # a cubic spline overshoots a step from 0 to 1 by less than a quarter
WINDOWED_SHARE = 0.99  # no CT in HU has so many voxels within `WINDOWED`
LEAST_SPREAD_HU = 100.0  # between air, fat, soft tissue and bone; no two of the four lie nearer in any CT of a body


def stored_numbers(volume: Volume) -> NDArray[np.float32]:
    """Return a CT as TransUNet stores it: (slices, rows, columns) float32, -125 to 275 HU as 0 to 1, clipped.

    Args:
        volume: One channel, in HU and in training orientation.
    """
    width = np.float32(HIGHEST_HU - LOWEST_HU)
    stored = np.empty(volume.shape, np.float32)
    for index in range(len(stored)):
        stored[index] = np.clip((volume.intensities(index)[0] - np.float32(LOWEST_HU)) / width, 0, 1)
    return stored


@dataclass
class StoredRange:
    """The range of the numbers of one volume, which says what they stand for."""

    lowest: float = float("inf")
    highest: float = float("-inf")
    voxels: int = 0
    windowed_voxels: int = 0

    def add(self, block: NDArray[Any]) -> None:
        """Count the numbers of a part of the volume."""
        self.lowest, self.highest = min(self.lowest, float(block.min())), max(self.highest, float(block.max()))
        self.voxels += block.size
        self.windowed_voxels += int(np.count_nonzero((block >= WINDOWED[0]) & (block <= WINDOWED[1])))

    def meaning(self, source: str) -> Literal["windowed", "HU"]:
        """Return what the numbers stand for.

        Raises:
            FileFormatError: They are neither -125 to 275 HU as 0 to 1, nor HU.
        """
        if WINDOWED[0] <= self.lowest and self.highest <= WINDOWED[1]:
            return "windowed"
        if self.windowed_voxels < WINDOWED_SHARE * self.voxels and self.highest - self.lowest >= LEAST_SPREAD_HU:
            return "HU"
        raise FileFormatError(
            f"{source}: its numbers go from {self.lowest:.4g} to {self.highest:.4g}, and "
            f"{self.windowed_voxels / self.voxels:.1%} of them lie near 0 to 1; expected 0 to 1 (-125 to 275 HU) or "
            "HU; clip or rescale them"
        )

    def scaling(self, source: str) -> tuple[float, float]:
        """Return the slope and the intercept that turn the stored numbers into HU; errors as `meaning`."""
        windowed = self.meaning(source) == "windowed"
        return (HIGHEST_HU - LOWEST_HU, LOWEST_HU) if windowed else (1.0, 0.0)


def volume_of(image: NDArray[Any], source: str) -> Volume:
    """Make a volume of (slices, rows, columns) stored numbers.

    Raises:
        FileFormatError: The numbers are neither 0 to 1 nor HU.
    """
    found = StoredRange()
    for plane in image:
        found.add(plane)
    slope, intercept = found.scaling(source)
    return Volume(image[None], UPRIGHT_AFFINE, slope, intercept, spacing_known=False, source=source)


def check_array(shape: Sequence[int], dtype: np.dtype[Any], axes: int, key: str, source: str) -> None:
    """Check an array's header before memory is asked for.

    Args:
        shape, dtype: As the header states them.
        axes: How many axes are expected.
        key: The array's name in the file, for messages.
        source: The file, for messages.

    Raises:
        FileFormatError: The array does not hold numbers, has another number of axes, or is empty or too large.
    """
    if dtype.kind not in "biuf":
        raise FileFormatError(f"{source}: '{key}' holds {dtype}; numbers are expected")
    if len(shape) != axes:
        raise FileFormatError(f"{source}: '{key}' is {len(shape)}-D {tuple(shape)} where {axes}-D is expected")
    check_array_size(shape, dtype.itemsize, source)


def finite(image: NDArray[Any], source: str) -> NDArray[Any]:
    """Check (..., rows, columns) plane by plane; floating point numbers become float32."""
    if image.dtype.kind != "f":
        return image
    with np.errstate(over="ignore"):
        image = image.astype(np.float32, copy=False)
    for plane in image:
        if not np.isfinite(plane).all():
            raise FileFormatError(f"{source}: intensities are NaN or infinite; repair the file")
    return image
