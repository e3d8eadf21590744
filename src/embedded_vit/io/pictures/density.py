"""The size of a picture's pixels in mm, where the file says it.

Most files state a density because a program had to write one: 72 or 96 dots per inch for a screen, 300 for a printer.
That says nothing about what is in the picture. So the densities that screens and printers have do not count.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["pixel_size_mm"]

MM_PER_INCH = 25.4
SCREENS_AND_PRINTERS = (72, 96, 100, 120, 144, 150, 180, 192, 200, 220, 240, 250, 300, 350, 360, 400, 500, 600, 720,
                        800, 1000, 1200, 2400, 4800)  # dots per inch  # fmt: skip
DENSITY_ROUNDING = 0.005  # relative: PNG keeps whole pixels per metre
SMALLEST_MM, LARGEST_MM, MOST_RATIO = 1e-5, 20.0, 10.0
MICROMETRE = ("um", "µm", "\\u00b5m", "micron", "microns")  # as ImageJ and OME spell it
MM_OF_UNIT = {"mm": 1.0, "cm": 10.0, "nm": 1e-6, **dict.fromkeys(MICROMETRE, 1e-3)}
IMAGEJ_UNIT = re.compile(r"^unit=(\S+)\s*$", re.MULTILINE)
OME_SIZE = re.compile(r'PhysicalSize([XY])="([0-9.eE+-]{1,30})"')
OME_UNIT = re.compile(r'PhysicalSizeXUnit="([^"]{1,20})"')
MOST_DESCRIPTION = 100_000  # characters that are looked through
DESCRIPTION, X_RESOLUTION, Y_RESOLUTION = 270, 282, 283  # tags of TIFF


def pixel_size_mm(info: Mapping[Any, Any], tags: Mapping[int, Any]) -> tuple[float, float] | None:
    """Return height and width of a pixel in mm; None where the file does not say them.

    Args:
        info: What Pillow found besides the pixels; `dpi` is (horizontal, vertical).
        tags: The tags of a TIFF file; else empty. Programs for microscopes state sizes in its description.
    """
    described = _of_microscope(str(tags.get(DESCRIPTION, ""))[:MOST_DESCRIPTION], tags)
    if described is not None:
        return described
    density = _pair(info.get("dpi"))
    if density is None or any(_is_of_screen_or_printer(dots) for dots in density):
        return None
    return _plausible(MM_PER_INCH / density[1], MM_PER_INCH / density[0])


def _of_microscope(description: str, tags: Mapping[int, Any]) -> tuple[float, float] | None:
    """Return what ImageJ or OME say of a TIFF file."""
    if description.startswith("ImageJ=") and (unit := IMAGEJ_UNIT.search(description)):
        per_unit = _pair((tags.get(X_RESOLUTION), tags.get(Y_RESOLUTION)))
        mm = MM_OF_UNIT.get(unit[1])
        return None if per_unit is None or mm is None else _plausible(mm / per_unit[1], mm / per_unit[0])
    sizes = dict(OME_SIZE.findall(description))
    unit = OME_UNIT.search(description)
    pair = _pair((sizes.get("X"), sizes.get("Y")))
    mm = MM_OF_UNIT.get(unit[1] if unit else "µm")  # the unit where OME states none
    return None if pair is None or mm is None else _plausible(mm * pair[1], mm * pair[0])


def _pair(values: Any) -> tuple[float, float] | None:
    """Return two numbers above zero; None for anything else."""
    try:
        first, second = (float(value) for value in values)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return (first, second) if min(first, second) > 0 and math.isfinite(first + second) else None


def _is_of_screen_or_printer(dots_per_inch: float) -> bool:
    return any(abs(dots_per_inch - known) <= DENSITY_ROUNDING * known for known in SCREENS_AND_PRINTERS)


def _plausible(height_mm: float, width_mm: float) -> tuple[float, float] | None:
    low, high = sorted((height_mm, width_mm))
    return (height_mm, width_mm) if low >= SMALLEST_MM and high <= LARGEST_MM and high <= MOST_RATIO * low else None
