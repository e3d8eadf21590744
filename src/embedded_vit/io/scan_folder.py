"""The scans below a folder: files, DICOM series, and cases of several files; what is no scan is named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from embedded_vit.errors import FileFormatError
from embedded_vit.io.channels import FoundScan, found_scans
from embedded_vit.io.dicom.magic import is_dicom
from embedded_vit.io.dicom.spread import put_together
from embedded_vit.io.mask_file import is_dicom_name, is_our_mask
from embedded_vit.io.scan_source import is_scan, scan_stem

__all__ = ["find_scans"]

# Of nnU-Net and the Decathlon, and of plain folders, beside the images.
MASK_FOLDERS = {"labelsTr": "imagesTr", "labelsTs": "imagesTs", "labels": "images", "masks": "images"}


def find_scans(
    folder: Path, *, channels: Sequence[str] = ("",), leave_out: Path | None = None
) -> tuple[list[FoundScan], list[str]]:
    """Find the scans in a folder and below it.

    Args:
        folder: Where to look. What begins with a dot is left out, as are the folders of masks of a data set.
        channels: Names of the channels that a scan has; files of one case are put together by their names.
        leave_out: The folder of the masks, which is left out too.

    Returns:
        The scans, folder by folder; what was left out, a phrase each.

    Raises:
        FileFormatError: A folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise FileFormatError(f"{error.filename}: cannot be read: {error.strerror}") from error

    not_entered = None if leave_out is None else leave_out.resolve()
    scans: list[FoundScan] = []
    dicom_folders: list[Path] = []
    left_out: list[str] = []
    for place, folders, files in os.walk(folder, onerror=refuse):
        here = Path(place)
        masks = {name for name in folders if MASK_FOLDERS.get(name) in folders}
        left_out += [f"{here / name}: masks of a data set" for name in sorted(masks)]
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name not in masks and (here / name).resolve() != not_entered
        )
        if is_scan(here) and not _holds_our_results_alone(here, files):
            dicom_folders.append(here)
        paths = [here / name for name in sorted(files) if not name.startswith(".") and is_scan(here / name)]
        ours = [path for path in paths if is_our_mask(path)]
        left_out += [f"{path}: a mask of this program" for path in ours]
        images = [path for path in paths if path not in ours]
        scans += found_scans(images, channels, {path: scan_stem(path) for path in images})
    for together in put_together(dicom_folders):
        common = Path(os.path.commonpath(together))
        scans.append(FoundScan(common, together, common.resolve().name))
    return sorted(scans, key=lambda scan: (scan.place.parent.parts, scan.place.name)), left_out


def _holds_our_results_alone(folder: Path, names: Sequence[str]) -> bool:
    """Whether all DICOM files of a folder are results of this program."""
    paths = [folder / name for name in names if not name.startswith(".")]
    found = [path for path in paths if is_dicom_name(path)]
    return (
        bool(found)
        and all(is_our_mask(path) for path in found)
        and not any(is_dicom(path) for path in paths if path not in found)
    )
