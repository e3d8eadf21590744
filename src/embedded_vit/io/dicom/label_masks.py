"""The voxels of structures that SEG and RTSTRUCT files hold, on the grid of their series.

A SEG is read by highdicom and laid onto the series: its voxels must be voxels of the series, in any axis order, on some
of the slices. The contours of an RTSTRUCT are polygons in planes of the series; a voxel is inside if its centre is, and
what lies inside two polygons of one structure is a hole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.errors import FileFormatError, missing_extra
from embedded_vit.io.base import ScanSource
from embedded_vit.io.dicom.label_objects import LabelObject, one_line
from embedded_vit.io.limits import check_array_size

__all__ = ["structure_masks"]

OFF_GRID = 0.1  # of a voxel: more is another grid
OFF_PLANE = 0.5  # of a slice: a contour is drawn in the plane of a slice
LPS_TO_RAS = np.diag([-1.0, -1, 1, 1])
HALF = 0.5  # of the probability of a fractional segmentation


def structure_masks(labels: LabelObject, names: Iterable[str], series: ScanSource) -> dict[str, NDArray[np.bool_]]:
    """Return the voxels of structures, each on the grid of the series.

    Args:
        labels: The file.
        names: Of the structures that are wanted; those that are not in it are left out.
        series: What they were drawn on; its shape and affine count.

    Raises:
        FileFormatError: The file is damaged, or lies on another grid than the series.
    """
    wanted = {name: labels.numbers[name] for name in names if name in labels.numbers}
    if not wanted:
        return {}
    with one_line(labels.path):
        return _of_seg(labels, wanted, series) if labels.kind == "SEG" else _of_structure_set(labels, wanted, series)


def _of_seg(labels: LabelObject, wanted: dict[str, int], series: ScanSource) -> dict[str, NDArray[np.bool_]]:
    from highdicom.seg import segread

    segmentation, source = segread(labels.path), str(labels.path)
    geometry = segmentation.get_volume_geometry(allow_missing_positions=True)
    if geometry is None:
        raise FileFormatError(f"{source}: its frames are not a volume; export it again")
    check_array_size(geometry.spatial_shape, 1, source)
    to_series = np.linalg.inv(series.affine) @ LPS_TO_RAS @ geometry.affine  # (4, 4): index -> index of the series
    found = {}
    for name, number in wanted.items():
        volume = segmentation.get_volume(
            segment_numbers=[number], combine_segments=False, allow_missing_positions=True, rescale_fractional=True
        )
        inside = volume.array.reshape(geometry.spatial_shape) >= HALF
        found[name] = _laid(inside, to_series, series.shape, f"{source}: structure {number}")
    return found


def _laid(
    inside: NDArray[np.bool_], to_series: NDArray[np.float64], shape: tuple[int, int, int], source: str
) -> NDArray[np.bool_]:
    """Return voxels on the grid of a series; those outside of it are left out.

    Raises:
        FileFormatError: They do not lie on voxels of the series.
    """
    whole = np.rint(to_series)
    corners = np.array([(*corner, 1) for corner in np.ndindex(2, 2, 2)]) * [*(n - 1 for n in inside.shape), 1]
    if np.abs(corners @ (to_series - whole).T).max() > OFF_GRID:
        raise FileFormatError(f"{source}: lies on another grid than its series; resample it to the series")
    places = np.argwhere(inside) @ whole[:3, :3].T.astype(int) + whole[:3, 3].astype(int)  # (voxels, 3)
    places = places[((places >= 0) & (places < shape)).all(axis=1)]
    mask = np.zeros(shape, np.bool_)
    mask[tuple(places.T)] = True
    return mask


def _of_structure_set(labels: LabelObject, wanted: dict[str, int], series: ScanSource) -> dict[str, NDArray[np.bool_]]:
    import pydicom

    tags = pydicom.dcmread(labels.path)
    contours_of = {int(each.ReferencedROINumber): each.get("ContourSequence", []) for each in tags.ROIContourSequence}
    to_index = (np.linalg.inv(series.affine) @ LPS_TO_RAS).astype(np.float64)
    found = {}
    for name, number in wanted.items():
        mask = np.zeros(series.shape, np.bool_)  # (columns, rows, slices)
        for contour in contours_of.get(number, []):
            if str(contour.get("ContourGeometricType", "")).upper() == "CLOSED_PLANAR":
                _fill(mask, contour.ContourData, to_index, f"{labels.path}: structure {number}")
        found[name] = mask
    return found


def _fill(mask: NDArray[np.bool_], data: Any, to_index: NDArray[np.float64], source: str) -> None:
    """Turn over the voxels whose centre lies within a polygon.

    Raises:
        FileFormatError: It lies in no plane of the series, or its numbers are not points.
    """
    points = np.asarray(data, np.float64)
    if points.size < 9 or points.size % 3 or not np.isfinite(points).all():
        if points.size in (3, 6):  # a point or a line encloses nothing
            return
        raise FileFormatError(f"{source}: a contour is not a list of points; export it again")
    index = (np.c_[points.reshape(-1, 3), np.ones(points.size // 3)] @ to_index.T)[:, :3]  # (points, 3)
    heights = index[:, 2]
    plane = round(float(heights.mean()))
    if np.abs(heights - plane).max() > OFF_PLANE:
        raise FileFormatError(f"{source}: a contour lies across the slices of its series; export it with that series")
    if not 0 <= plane < mask.shape[2]:
        return  # of a slice that is not there
    low = np.maximum(np.floor(index[:, :2].min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(index[:, :2].max(axis=0)) + 1, mask.shape[:2]).astype(int)
    if (high <= low).any():
        return
    first, second = np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij")
    inside = _within(index[:, :2], np.stack([first.ravel(), second.ravel()], axis=1)).reshape(first.shape)
    mask[low[0] : high[0], low[1] : high[1], plane] ^= inside


def _within(polygon: NDArray[np.float64], centres: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which centres (N, 2) lie within a polygon (points, 2)."""
    try:
        from matplotlib.path import Path as Polygon
    except ImportError as error:
        raise FileFormatError(f"contours; {missing_extra('matplotlib, which fills them,', 'train')}") from error
    return np.asarray(Polygon(polygon).contains_points(centres), np.bool_)
