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

Order = tuple[tuple[int, ...], tuple[int, ...]]  # the old axes, and their directions
ORDERS: list[Order] = list(product(permutations(range(3)), product((1, -1), repeat=3)))  # 48
FORMATS = ("nii.gz", "mha", "nrrd", "dicom")
OBLIQUE = 100  # of which the second half is sheared
STEEPEST = 0.3  # shear, as the tangent of an angle


def cases() -> list[tuple[str, int | None, Order]]:
    """Return format, number of the oblique affine (None: upright) and order of all scans: every order in both ways.

    All formats hold shear, but DICOM only between slices (a tilted gantry): there an order keeps the slices.
    """
    made: list[tuple[str, int | None, Order]] = [(kind, None, order) for order in ORDERS for kind in FORMATS]
    of_slices = [order for order in ORDERS if order[0][2] == 2]
    for number in range(OBLIQUE):
        for kind in FORMATS:
            orders = of_slices if kind == "dicom" and is_sheared(number) else ORDERS
            made.append((kind, number, orders[number % (OBLIQUE // 2) % len(orders)]))
    return made


def is_sheared(number: int) -> bool:
    """Whether an oblique affine is sheared."""
    return number >= OBLIQUE // 2


def turned(array: np.ndarray, affine: np.ndarray, order: Order) -> tuple[np.ndarray, np.ndarray]:
    """Return the same scan with its axes in another order and direction."""
    axes, signs = order
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for new, (old, sign) in enumerate(zip(axes, signs, strict=True)):
        change[old, new] = sign
        change[old, 3] += 0 if sign > 0 else array.shape[old] - 1
    other = np.transpose(array, axes)[tuple(slice(None, None, sign) for sign in signs)]
    return np.ascontiguousarray(other), affine @ change


def oblique(number: int, *, slices_alone: bool) -> np.ndarray:
    """Return an affine that is turned by up to 20 degrees about each axis; the second half of all are sheared.

    Args:
        number: Which one.
        slices_alone: Shear shifts slices against each other, and leaves rows and columns at right angles.
    """
    random = np.random.default_rng(number)
    rotation = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(random.uniform(-20, 20, 3))):
        one, two = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[[one, two], [one, two]] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        rotation = rotation @ turn
    shear = np.eye(3)
    if is_sheared(number):
        shear[[0, 1], 2] = random.uniform(-STEEPEST, STEEPEST, 2)
        shear[0, 1] = 0.0 if slices_alone else random.uniform(-STEEPEST, STEEPEST)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = rotation @ shear @ np.diag([1.0, 1.1, 3.0]), random.uniform(-50, 50, 3)
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
    """Segment the same scan in other orders, formats and places, as many of all cases as are asked for."""
    outcome, find, found = Outcome(), predictor(folder), cases()
    step = max(1, len(found) // count)
    for number, (kind, turn, order) in list(enumerate(found))[:: step - (step % 2 == 0)]:  # odd: of all formats
        affine = np.diag([1.0, 1.1, 3, 1]) if turn is None else oblique(turn, slices_alone=kind == "dicom")
        array = box(number % 256)
        array[20:24, 5:9, 2] = 400  # so that no axis looks like its mirror image
        try:
            first = in_world(find.predict(written(folder, "nii.gz", array, affine), force=True))
            second = in_world(find.predict(written(folder, kind, *turned(array, affine, order)), force=True))
            good, what = same(first, second), "another mask"
        except Exception as error:
            good, what = False, f"{type(error).__name__}: {error!s:.150}"
        where = "upright" if turn is None else f"{'sheared' if is_sheared(turn) else 'oblique'} {turn}"
        outcome.count(good=good and bool(first[0].any()), message=f"{kind}, {where}, order {order}: {what}")
    return outcome
