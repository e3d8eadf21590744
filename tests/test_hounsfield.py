"""A CT is known to be in HU by the shares of its volume: not by one voxel, and not by its padding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embedded_vit.hounsfield import hounsfield_problems
from embedded_vit.io.scan_source import open_scan
from embedded_vit.volume import UPRIGHT_AFFINE, Volume

SIZE, SLICES = 96, 8
Image = np.ndarray


def body() -> Image:
    """(slices, rows, columns) in HU: air, a layer of fat, soft tissue with a vessel full of contrast, lung, bone."""
    rng = np.random.default_rng(0)
    rows, columns = np.ogrid[:SIZE, :SIZE]

    def disc(row: float, column: float, radius: float) -> Image:
        return (rows - row) ** 2 + (columns - column) ** 2 < radius**2

    plane = np.full((SIZE, SIZE), -1000.0)
    for row, column, radius, hounsfield in ((48, 48, 40, -100), (48, 48, 36, 50), (40, 30, 10, -850),
                                            (45, 60, 4, 320), (70, 48, 7, 450), (70, 48, 3, 1000)):  # fmt: skip
        plane[disc(row, column, radius)] = hounsfield
    image = np.broadcast_to(plane, (SLICES, SIZE, SIZE)) + rng.normal(0, 18, (SLICES, SIZE, SIZE))
    return np.rint(image).astype(np.float32)


OUTSIDE = np.hypot(*(np.indices((SIZE, SIZE)) - (SIZE - 1) / 2)) > SIZE / 2


def padded(image: Image, value: float) -> Image:
    return np.where(OUTSIDE, np.float32(value), image)


def one_voxel(image: Image, value: float) -> Image:
    image = image.copy()
    image[0, 0, 0] = value
    return image


def picture(image: Image) -> Image:
    return np.rint(np.clip((image + 160) / 400, 0, 1) * 255)


def blurred(image: Image) -> Image:
    return (image + np.roll(image, 1, 1) + np.roll(image, 1, 2)) / 3


def reasons(image: Image, **scaling: float) -> list[str]:
    return list(hounsfield_problems(Volume(image[None], UPRIGHT_AFFINE, **scaling)))


MIDDLE, LIVER = np.s_[:, 14:82, 14:82], np.s_[:, 48:64, 56:72]
RIGHT: dict[str, Callable[[Image], Image]] = {
    "as it is": lambda image: image,
    "padded to -1024": lambda image: padded(image, -1024),
    "padded to -2000": lambda image: padded(image, -2000),
    "padded to -3024": lambda image: padded(image, -3024),
    "padding blurred": lambda image: blurred(padded(image, -2000)),
    "one slice": lambda image: image[:1],
    "clipped to +-1000": lambda image: image.clip(-1000, 1000),
    "TransUNet's window": lambda image: image.clip(-125, 275),
    "the field of view has no air": lambda image: image[MIDDLE],
    "a crop of soft tissue": lambda image: image[LIVER],
    "a crop of lung": lambda image: image[:, 32:48, 22:38],
    "a child in a wide field": lambda image: np.where(np.indices((SIZE, SIZE))[0] % 24 > 3, -1000, image),
    "much contrast agent": lambda image: np.where(image > 0, image + 130, image),
}
WRONG: dict[str, tuple[Callable[[Image], Image], str]] = {
    "no intercept": (lambda image: image + 1024, "between 850 and 1300"),
    "no intercept, padded": (lambda image: padded(image + 1024, -2000), "between 850 and 1300"),
    "no intercept, padded to -1024": (lambda image: padded(image + 1024, -1024), "between 850 and 1300"),
    "no intercept, padding blurred": (lambda image: blurred(padded(image + 1024, -2000)), "between 850 and 1300"),
    "no intercept, one voxel": (lambda image: one_voxel(image + 1024, -1024), "between 850 and 1300"),
    "no intercept of -1000": (lambda image: image + 1000, "between 850 and 1300"),
    "no intercept, no air": (lambda image: image[MIDDLE] + 1024, "between 850 and 1300"),
    "no intercept, a crop": (lambda image: image[LIVER] + 1024, "where tissue lies"),
    "the intercept twice": (lambda image: image - 1024, "darker than air"),
    "unsigned": (lambda image: image + 32768, "where tissue lies"),
    "8 bits": (picture, "those of a picture"),
    "8 bits, padded": (lambda image: padded(picture(image), -1024), "those of a picture"),
    "0 to 1": (lambda image: (image.clip(-125, 275) + 125) / 400, "no fat, no air"),
    "0 to 1, padded": (lambda image: padded((image.clip(-125, 275) + 125) / 400, -1024), "no fat, no air"),
    "z-scored": (lambda image: (image - image.mean()) / image.std(), "no fat, no air"),
    "a crop of a vertebra alone": (lambda image: image[:, 60:80, 38:58], "no fat, no air"),  # as an MR looks
    "an MR with ripples below 0": (lambda image: (image.clip(-1000, 600) + 1000) / 3 - 20, "no fat, no air"),
    "an MR": (lambda image: np.abs(image + 1000) / 3, "no fat, no air"),
    "constant": (lambda image: 0 * image, "no fat, no air"),
}  # fmt: skip


@pytest.mark.parametrize("kind", RIGHT)
def test_hu_are_accepted(kind: str) -> None:
    assert reasons(RIGHT[kind](body())) == []


@pytest.mark.parametrize("kind", WRONG)
def test_other_numbers_are_refused(kind: str) -> None:
    change, reason = WRONG[kind]
    (found,) = reasons(change(body()))
    assert found.startswith("a CT in HU is expected, but ")
    assert reason in found


def test_slope_and_intercept_count() -> None:
    raw = (body() + 1024) / 2
    assert reasons(raw, slope=2, intercept=-1024) == []
    assert reasons(raw, slope=2) != []


def test_of_several_channels_only_those_of_ct_are_looked_at() -> None:
    both = Volume(np.stack([body(), body() * 0 + 7]), UPRIGHT_AFFINE)
    assert list(hounsfield_problems(both, ("CT", "PET"))) == []
    assert len(list(hounsfield_problems(both, ("PET", "CT")))) == 1


def test_slices_are_sampled_evenly_in_a_long_scan() -> None:
    long = np.concatenate([body()] * 20)
    assert reasons(long) == []
    assert reasons(np.concatenate([long[:1], long[1:] + 1024])) != []


def test_a_real_mr_is_refused_and_the_ct_of_the_same_set_is_not(shared_folder: Path) -> None:
    folder = shared_folder / "data" / "readers" / "totalsegmentator_ct"
    found = {}
    for name in ("example_ct_sm", "example_mr_sm"):
        with open_scan(folder / f"{name}.nii.gz") as source:
            found[name] = list(hounsfield_problems(source.read()))
    assert found["example_ct_sm"] == []
    assert len(found["example_mr_sm"]) == 1
