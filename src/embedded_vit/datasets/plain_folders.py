"""Plain folders: images in one, masks of the same names in the other.

    images/CASE.png (.jpg, .tif, .nii.gz, ...)    masks/CASE.png, or labels/CASE.nii.gz

A mask may be called CASE_mask, CASE_seg or likewise. Without a `dataset.json` that names channels and labels, these are
looked up in the files: the structures are the numbers that some masks hold, and a CT is known by its intensities.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embedded_vit.counted import counted
from embedded_vit.datasets.description import DESCRIPTION_FILE, channels_of
from embedded_vit.datasets.file_data_set import CaseFiles, FileDataSet, data_set_of
from embedded_vit.datasets.label_scheme import LabelScheme, scheme_of
from embedded_vit.errors import DataSetError, FileFormatError
from embedded_vit.hounsfield import hounsfield_problems
from embedded_vit.io.pictures import is_picture
from embedded_vit.io.scan_source import data_files, kinds_in, open_scan, read_mask, scan_stem
from embedded_vit.labels import LabelSet

__all__ = ["IMAGES", "MASKS", "channels_in", "mask_folder", "open_plain", "plain_pairs", "scheme_in"]

IMAGES, MASKS = "images", ("masks", "labels")
MASK_ENDING = re.compile(r"[-_ ](mask|masks|seg|segmentation|label|labels|gt|groundtruth|manual\d?)$", re.IGNORECASE)
LOOKED_AT = 64  # masks
FAT_HU = -100.0  # a CT holds fat or air, which an MR of positive numbers has not
MOST_STRUCTURES = 64  # numbers in masks; more are those of an image
FULL_WHITE, LEAST_BETWEEN = 255, 16  # structures drawn as greys lie apart; smoothing gives numbers beside 0 and 255
COLOURS = {1: ("grey",), 3: ("R", "G", "B")}


def mask_folder(folder: Path) -> Path | None:
    """Return the folder of masks beside `images`; None where there is none."""
    there = [folder / name for name in MASKS if (folder / name).is_dir()]
    return there[0] if there and (folder / IMAGES).is_dir() else None


def plain_pairs(folder: Path) -> bool:
    """Whether some image has a mask of its name in the folder of masks itself."""
    masks_in = mask_folder(folder)
    masks = {scan_stem(path) for path in data_files(masks_in)} if masks_in is not None else set()
    return bool(
        (masks | {MASK_ENDING.sub("", mask) for mask in masks})
        & {scan_stem(path) for path in data_files(folder / IMAGES)}
    )


def open_plain(folder: Path, description: Mapping[str, Any]) -> FileDataSet:
    """Open plain folders; of the voxels only those of some masks are read, where no `dataset.json` names the labels.

    Args:
        folder: Holds `images`, and `masks` or `labels`.
        description: Its `dataset.json`; empty where there is none.

    Raises:
        DataSetError: No image has a mask, two masks are of one image, or the masks do not look like masks.
    """
    masks_in = mask_folder(folder)
    assert masks_in is not None
    images = {scan_stem(path): path for path in data_files(folder / IMAGES)}
    masks: dict[str, Path] = {}
    for path in data_files(masks_in):
        stem = scan_stem(path)
        name = stem if stem in images else MASK_ENDING.sub("", stem)
        if (other := masks.setdefault(name, path)) != path:
            raise DataSetError(f"{masks_in}: {other.name} and {path.name} are masks of one image; remove one")
    files = {name: CaseFiles((images[name],), masks[name]) for name in sorted(images.keys() & masks.keys())}
    if not files:
        for place, read in ((folder / IMAGES, images), (masks_in, masks)):
            if not read and (there := kinds_in(place)):
                raise DataSetError(f"{place}: {there}, which are not read; convert them to PNG or NIfTI")
        raise DataSetError(
            f"{folder}: {counted(len(images), 'image')} in {IMAGES} and {counted(len(masks), 'mask')} in "
            f"{masks_in.name}, none of one name; "
            "an image and its mask must be called alike, for example CASE.png"
        )
    remarks = [f"{images[name]}: left out: no mask of that name" for name in sorted(images.keys() - masks.keys())]
    remarks += [f"{masks[name]}: left out: no image of that name" for name in sorted(masks.keys() - images.keys())]
    source = folder / DESCRIPTION_FILE
    channels, found, more = channels_in(next(iter(files.values())).images[0], description, source)
    if "labels" in description:
        scheme = scheme_of(description, source)
    else:
        scheme = scheme_in([case.labels for case in files.values() if case.labels is not None], masks_in)
        names = ", ".join(scheme.labels.names)
        more = [*more, f"{masks_in}: structures as the masks number them: {names}; {DESCRIPTION_FILE} would name them"]
    return data_set_of(folder, channels, scheme, files, f"{IMAGES} and {masks_in.name}",
                       description={**found, **description}, remarks=[*remarks, *more])  # fmt: skip


def channels_in(
    image: Path, description: Mapping[str, Any], source: Path
) -> tuple[tuple[str, ...], dict[str, Any], list[str]]:
    """Return the names of the channels, what is known of the intensities, and remarks; from the first image."""
    for key in ("channel_names", "modality"):
        if key in description:
            return channels_of(description, key, source), {}, []
    try:
        with open_scan(image) as scan:
            count = scan.channels
            if is_picture(image):
                return COLOURS[count], {}, []
            if count > 1 or "intensities" in description:
                return tuple(f"channel {number}" for number in range(count)), {"intensities": "MR"}, []
            volume = scan.read()
    except FileFormatError as error:
        raise DataSetError(f"{error}: the first image of the data set; correct or remove it") from error
    lowest = float(volume.array.min()) * volume.slope + volume.intercept
    modality = "CT" if lowest < FAT_HU and not any(hounsfield_problems(volume)) else "MR"
    meaning = "its numbers are HU" if modality == "CT" else "its numbers are not HU"
    remark = f"{image}: taken as {modality}, as {meaning}; {DESCRIPTION_FILE} with 'intensities' would say it"
    return (modality,), {"intensities": modality}, [remark]


def scheme_in(masks: Sequence[Path], folder: Path) -> LabelScheme:
    """Return the structures that some masks hold.

    Raises:
        DataSetError: There are none, those of a smoothed mask, or too many numbers for masks.
    """
    found: set[int] = set()
    for path in masks[:: max(1, -(-len(masks) // LOOKED_AT))]:
        try:
            found |= {int(number) for number in np.flatnonzero(read_mask(path).counts())}
        except FileFormatError as error:
            raise DataSetError(f"{error}: a mask of the data set; correct or remove it") from error
    numbers = sorted(found - {0})
    if not numbers:
        raise DataSetError(f"{folder}: no structure is marked in {counted(len(masks), 'mask')}; nothing to learn")
    if len(numbers) > MOST_STRUCTURES:
        raise DataSetError(f"{folder}: its files hold {len(numbers)} numbers, as images do and masks do not")
    if len(numbers) == 1:
        labels = LabelSet.from_names(["structure"])
        return LabelScheme(labels, {0: 0, 1: 1, numbers[0]: 1})
    gaps = np.diff([0, *numbers])
    if FULL_WHITE in numbers and gaps.min() < LEAST_BETWEEN and is_picture(masks[0]):
        raise DataSetError(
            f"{folder}: the masks hold {len(numbers)} numbers up to 255, as masks with soft edges do; save them "
            "without smoothing, with the number of the structure in each pixel"
        )
    labels = LabelSet.from_names([f"label {number}" for number in numbers])
    return LabelScheme(labels, {0: 0, **{number: place for place, number in enumerate(numbers, start=1)}})
