"""Data sets that are odd, in the nnU-Net layout or as pictures; each function writes one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["ODD"]

Pair = tuple[NDArray[Any], NDArray[Any]]  # image, (x, y, z) or (x, y, z, channel); mask, (x, y, z)
ODD: dict[str, Callable[[Path], None]] = {}
SPACING = (1.0, 1.0, 3.0)


def odd(function: Callable[[Path], None]) -> Callable[[Path], None]:
    """Add a data set to the table, under its function's name."""
    ODD[function.__name__] = function
    return function


def case(seed: int, shape: Sequence[int] = (24, 20, 6), labels: int = 1) -> Pair:
    """A CT with a bright box for each structure."""
    random = np.random.default_rng(seed)
    image = random.normal(-50, 30, shape).astype(np.int16)
    mask = np.zeros(shape, np.uint8)
    for number in range(1, labels + 1):
        place = tuple(slice(length // 4, max(length // 4 + 1, length // 2)) for length in shape)
        mask[place] = number
        image[place] += 100 * number
    return image, mask


def write(
    folder: Path,
    cases: Sequence[Pair] | dict[str, Pair],
    *,
    channels: Sequence[str] = ("CT",),
    labels: dict[str, Any] | None = None,
    spacing: Sequence[float] = SPACING,
) -> None:
    named = cases if isinstance(cases, dict) else {f"case{number}": pair for number, pair in enumerate(cases)}
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    for name, (image, mask) in named.items():
        stacked = image if image.ndim == 4 else image[..., None]
        for channel in range(stacked.shape[-1]):
            path = folder / "imagesTr" / f"{name}_{channel:04d}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(stacked[..., channel], affine), path)
        nibabel.save(nibabel.Nifti1Image(mask, affine), folder / "labelsTr" / f"{name}.nii.gz")
    description = {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": labels or {"background": 0, "box": 1},
        "numTraining": len(named),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def pictures(folder: Path, images: Sequence[NDArray[Any]], masks: Sequence[NDArray[Any]]) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        Image.fromarray(image).save(folder / "images" / f"p{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"p{number}.png")


@odd
def masks_that_are_all_empty(folder: Path) -> None:
    write(folder, [(image, mask * 0) for image, mask in map(case, range(5))])


@odd
def one_case(folder: Path) -> None:
    write(folder, [case(0)])


@odd
def no_case(folder: Path) -> None:
    write(folder, [])


@odd
def two_cases(folder: Path) -> None:
    write(folder, [case(0), case(1)])


@odd
def five_cases_of_one_patient(folder: Path) -> None:
    write(folder, [case(number) for number in range(5)])
    rows = "\n".join(f"case{number},anna" for number in range(5))
    (folder / "patients.csv").write_text(f"case,patient\n{rows}\n")


@odd
def patients_of_other_cases(folder: Path) -> None:
    write(folder, [case(number) for number in range(4)])
    (folder / "patients.csv").write_text("case,patient\nother,anna\n")


@odd
def a_number_that_is_not_described(folder: Path) -> None:
    cases = [case(number) for number in range(5)]
    cases[2][1][0, 0, 0] = 7
    write(folder, cases)


@odd
def images_of_eight_pixels(folder: Path) -> None:
    write(folder, [case(number, (8, 8, 5)) for number in range(5)])


@odd
def images_of_one_pixel(folder: Path) -> None:
    write(folder, [case(number, (1, 1, 5)) for number in range(5)])


@odd
def three_slices(folder: Path) -> None:
    write(folder, [case(number, (24, 24, 3)) for number in range(5)])


@odd
def one_slice(folder: Path) -> None:
    write(folder, [case(number, (24, 24, 1)) for number in range(5)])


@odd
def ten_thousand_channels(folder: Path) -> None:
    write(folder, [case(number) for number in range(4)], channels=[f"channel {number}" for number in range(10_000)])


@odd
def twelve_channels(folder: Path) -> None:
    cases = [(np.repeat(image[..., None], 12, axis=3), mask) for image, mask in map(case, range(4))]
    write(folder, cases, channels=[f"T{number}" for number in range(12)])


@odd
def images_of_air(folder: Path) -> None:
    write(folder, [(np.full_like(image, -1000), mask) for image, mask in map(case, range(5))])


@odd
def images_of_zeros(folder: Path) -> None:
    write(folder, [(image * 0, mask) for image, mask in map(case, range(5))], channels=["T1"])


@odd
def images_with_nan(folder: Path) -> None:
    cases = [(image.astype(np.float32), mask) for image, mask in map(case, range(5))]
    cases[1][0][0, 0, 0] = np.nan
    write(folder, cases, channels=["T1"])


@odd
def masks_with_halves(folder: Path) -> None:
    write(folder, [(image, mask.astype(np.float32) / 2) for image, mask in map(case, range(5))])


@odd
def masks_of_another_size(folder: Path) -> None:
    write(folder, [(image, mask[:-1]) for image, mask in map(case, range(5))])


@odd
def masks_that_fill_everything(folder: Path) -> None:
    write(folder, [(image, mask * 0 + 1) for image, mask in map(case, range(5))])


@odd
def a_structure_in_one_case_only(folder: Path) -> None:
    cases = [case(number) for number in range(6)]
    cases[3][1][1, 1, 1] = 2
    write(folder, cases, labels={"background": 0, "box": 1, "voxel": 2})


@odd
def a_structure_that_no_mask_holds(folder: Path) -> None:
    write(folder, [case(number) for number in range(5)], labels={"background": 0, "box": 1, "ghost": 2})


@odd
def masks_of_single_voxels(folder: Path) -> None:
    cases = [(image, np.zeros_like(mask)) for image, mask in map(case, range(5))]
    for _, mask in cases:
        mask[3, 3, 3] = 1
    write(folder, cases)


@odd
def two_hundred_and_fifty_four_structures(folder: Path) -> None:
    cases = [case(number) for number in range(4)]
    for _, mask in cases:
        mask.ravel()[:254] = np.arange(1, 255)
    write(folder, cases, labels={"background": 0, **{f"s{number}": number for number in range(1, 255)}})


@odd
def three_hundred_structures(folder: Path) -> None:
    labels = {"background": 0, **{f"s{number}": number for number in range(1, 301)}}
    write(folder, [case(number) for number in range(4)], labels=labels)


@odd
def background_alone(folder: Path) -> None:
    write(folder, [case(number) for number in range(4)], labels={"background": 0})


@odd
def numbers_with_gaps(folder: Path) -> None:
    write(folder, [(image, mask * 5) for image, mask in map(case, range(5))], labels={"background": 0, "box": 5})


@odd
def all_is_ignored(folder: Path) -> None:
    cases = [(image, mask * 0 + 2) for image, mask in map(case, range(5))]
    write(folder, cases, labels={"background": 0, "box": 1, "ignore": 2})


@odd
def spacings_that_differ_by_a_hundred(folder: Path) -> None:
    write(folder, [case(number) for number in range(5)], spacing=(0.1, 0.1, 10.0))


@odd
def sizes_that_differ_by_twenty(folder: Path) -> None:
    write(folder, [case(number, (8 * (number + 1) ** 2, 8 * (number + 1) ** 2, 4)) for number in range(5)])


@odd
def names_that_nobody_gives(folder: Path) -> None:
    names = ("a b", "ü-é", "x" * 100, "-o", "=1+1")
    write(folder, {name: case(number) for number, name in enumerate(names)})


@odd
def infinite_numbers_in_an_mr(folder: Path) -> None:
    cases = [(image.astype(np.float32), mask) for image, mask in map(case, range(5))]
    cases[0][0][...] = np.inf
    write(folder, cases, channels=["T1"])


@odd
def pictures_of_one_pixel(folder: Path) -> None:
    pictures(folder, [np.full((1, 1), 7 * n, np.uint8) for n in range(5)], [np.ones((1, 1), np.uint8)] * 5)


@odd
def pictures_of_one_row(folder: Path) -> None:
    row = np.arange(200, dtype=np.uint8)[None]
    pictures(folder, [row] * 5, [(row > 100).astype(np.uint8)] * 5)


@odd
def pictures_that_are_all_black(folder: Path) -> None:
    black = np.zeros((32, 32), np.uint8)
    marked = black.copy()
    marked[4:9, 4:9] = 255
    pictures(folder, [black] * 5, [marked] * 5)


@odd
def pictures_with_masks_of_many_greys(folder: Path) -> None:
    shades = np.arange(1024, dtype=np.uint32).reshape(32, 32).astype(np.uint8)
    pictures(folder, [shades] * 5, [shades] * 5)


@odd
def pictures_grey_and_coloured(folder: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (32, 32), np.uint8)
    pictures(folder, [grey, np.repeat(grey[..., None], 3, axis=2)] * 2, [(grey > 128).astype(np.uint8)] * 4)
