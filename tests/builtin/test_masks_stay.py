"""The shipped models give the masks that they gave when they were released.

`masks-0.1.0.npz` holds their masks of phantoms, made with version 0.1.0 by

    python tests/builtin/test_masks_stay.py tests/builtin/masks-0.1.0.npz

Processors round differently, so a few voxels on the border of a structure may change from one to another. The masks of
the int8 model come from one without VNNI: with it integers are added up in another way, and differences grow.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import embedded_vit
from embedded_vit.builtin.index import builtin_model, builtin_names
from embedded_vit.datasets.phantom import PhantomSettings, make_phantom
from embedded_vit.provenance import processor_flags
from embedded_vit.volume import Volume

MASKS = Path(__file__).with_name("masks-0.1.0.npz")
MAXIMUM_CHANGED = 1e-5  # of the voxels of all phantoms together
# The int8 model before this one had 1.4e-4 the other way round; it differs from float by 1.6e-3.
MAXIMUM_CHANGED_INT8 = 5e-4 if any("vnni" in flag for flag in processor_flags()) else MAXIMUM_CHANGED
PHANTOMS = (0, 1)
SETTINGS = PhantomSettings(size=256, slices=32)
CROP_VOXELS = (36, 40, 50)  # of 1 mm: about the field of view that the hippocampus model was trained on


def scans_for(name: str) -> list[Volume]:
    """Return phantoms of the abdomen, or for the MR model a bright body in a crop of 1 mm voxels."""
    if name != "hippocampus-mr":
        return [make_phantom(number, seed=24, settings=SETTINGS)[0] for number in PHANTOMS]
    return [_bright_body(number) for number in PHANTOMS]


def _bright_body(number: int) -> Volume:
    """(1, 36, 40, 50) float32, slices to superior: an ellipsoid along the front-to-back axis, as a hippocampus lies."""
    random = np.random.default_rng([24, number])
    image = random.normal(500, 20, CROP_VOXELS)
    z, y, x = np.meshgrid(*(np.arange(length) - length / 2 for length in CROP_VOXELS), indexing="ij")
    image[(z / 8) ** 2 + (y / 7) ** 2 + (x / (11 + number)) ** 2 < 1] += 75
    affine = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    return Volume(image[None].astype(np.float32), affine, source=f"body {number}")


def masks_of(name: str) -> NDArray[np.uint8]:
    """Return the masks of a model's scans, one after the other: (scans, slices, rows, columns) uint8."""
    predictor = embedded_vit.load(name, threads=1)
    return np.stack([predictor.predict(scan, force=True).mask.array for scan in scans_for(name)])


@pytest.mark.parametrize("name", builtin_names())
def test_masks_are_those_of_the_release(name: str) -> None:
    with np.load(MASKS) as released:
        expected = released[name]
    found = masks_of(name)
    assert len(np.unique(expected)) > 1
    is_int8 = builtin_model(name).manifest.precision == "int8"
    assert np.mean(found != expected) <= (MAXIMUM_CHANGED_INT8 if is_int8 else MAXIMUM_CHANGED)


if __name__ == "__main__":
    np.savez_compressed(sys.argv[1], **{name: masks_of(name) for name in builtin_names()})
