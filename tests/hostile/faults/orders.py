"""All axis orders and directions, upright and oblique, in every format: the same mask in the world."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
from dicom_fixtures import write_series

from embedded_vit.predict.predictor import Prediction
from faults.row import Outcome
from faults.small_scans import box, predictor

ORDERS = list(product(permutations(range(3)), product((1, -1), repeat=3)))  # 48
FORMATS = ("nii.gz", "mha", "nrrd", "dicom")


def turned(array: np.ndarray, affine: np.ndarray, order: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Return the same scan with its axes in another order and direction."""
    axes, signs = order
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for new, (old, sign) in enumerate(zip(axes, signs, strict=True)):
        change[old, new] = sign
        change[old, 3] += 0 if sign > 0 else array.shape[old] - 1
    other = np.transpose(array, axes)[tuple(slice(None, None, sign) for sign in signs)]
    return np.ascontiguousarray(other), affine @ change


def oblique(random: np.random.Generator, *, sheared: bool) -> np.ndarray:
    """Return an affine that is turned by up to 20 degrees about each axis, and perhaps sheared."""
    rotation = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(random.uniform(-20, 20, 3))):
        one, two = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[[one, two], [one, two]] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        rotation = rotation @ turn
    matrix = rotation @ np.diag([1.0, 1.1, 3.0])
    if sheared:
        matrix[0, 2] += random.uniform(-0.3, 0.3)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, random.uniform(-50, 50, 3)
    return affine


def written(folder: Path, kind: str, array: np.ndarray, affine: np.ndarray) -> Path:
    """Write a scan in a format."""
    if kind == "nii.gz":
        nibabel.save(nibabel.Nifti1Image(array, affine), folder / "scan.nii.gz")
        return folder / "scan.nii.gz"
    to_lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    directions = to_lps[:3, :3] / spacing
    if kind == "dicom":
        series = folder / "series"
        for old in series.glob("*"):
            old.unlink()
        write_series(
            series,
            np.transpose(array, (2, 1, 0)),  # slices, rows, columns
            start=to_lps[:3, 3].tolist(),
            step=to_lps[:3, 2].tolist(),
            ImageOrientationPatient=[*directions[:, 0].round(10).tolist(), *directions[:, 1].round(10).tolist()],
            PixelSpacing=[float(spacing[1]), float(spacing[0])],
        )
        return series
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.transpose(array, (2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    image.SetDirection(directions.ravel().tolist())
    image.SetOrigin(to_lps[:3, 3].tolist())
    SimpleITK.WriteImage(image, str(folder / f"scan.{kind}"))
    return folder / f"scan.{kind}"


def in_world(prediction: Prediction) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask and its affine with the axes as patients lie."""
    mask = prediction.mask.reoriented("RAS")
    return np.stack([mask.get(index) for index in range(mask.shape[0])]), np.asarray(mask.affine)


def same(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether two masks are equal and at one place."""
    return np.array_equal(one[0], other[0]) and np.allclose(one[1], other[1], atol=1e-3)


def ordered(count: int, folder: Path) -> Outcome:
    """Segment the same scan in other orders; each half of the scans is oblique, a quarter of them sheared (NIfTI)."""
    outcome, find = Outcome(), predictor(folder)
    for number in range(count):
        random = np.random.default_rng(number)
        kind = FORMATS[number % len(FORMATS)]
        affine = np.array(np.diag([1.0, 1.1, 3, 1]))
        if number // len(FORMATS) % 2:
            affine = oblique(random, sheared=kind == "nii.gz" and number % 3 == 0)
        array = box(number % 256)
        array[20:24, 5:9, 2] = 400  # so that no axis looks like its mirror image
        order = ORDERS[number * 5 % 48 if number < 48 else int(random.integers(48))]
        try:
            first = in_world(find.predict(written(folder, "nii.gz", array, affine), force=True))
            second = in_world(find.predict(written(folder, kind, *turned(array, affine, order)), force=True))
            good, what = same(first, second), "another mask"
        except Exception as error:
            good, what = False, f"{type(error).__name__}: {error!s:.150}"
        outcome.count(good=good and bool(first[0].any()), message=f"{number}: {kind}, order {order}: {what}")
    return outcome
