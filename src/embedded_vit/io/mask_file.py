"""The files of a mask: `case.nii.gz`, or `case.png` where the scan is a picture, and `case.json` beside it.

Beside the mask of a picture lies `case_overlay.png`, which shows it over the picture; beside any other
`case_preview.png`, and `case_probabilities.nii.gz` where it was asked for. Results in DICOM are called `case_seg.dcm`
and `case_sc.dcm`, or any name in `.dcm` that a user gives.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embedded_vit.errors import FileFormatError, OutputError
from embedded_vit.io.atomic import sweep_leftovers
from embedded_vit.io.json_file import read_json_object
from embedded_vit.io.nifti import NiftiGeometry, write_labels
from embedded_vit.io.nifti.stream import SUFFIX, SUFFIXES, is_nifti
from embedded_vit.io.pictures import PICTURE_SUFFIX, is_picture, write_picture
from embedded_vit.io.scan_source import scan_stem
from embedded_vit.labels import LabelSet
from embedded_vit.volume import Mask

__all__ = [
    "SIZES",
    "check_dicom_name",
    "check_mask_name",
    "files_of_summary",
    "is_beside_mask",
    "is_dicom_name",
    "is_folder_name",
    "is_mask_name",
    "is_our_mask",
    "is_our_summary",
    "is_summary_name",
    "mask_name",
    "overlay_path",
    "preview_path",
    "probabilities_path",
    "read_summary",
    "result_path",
    "summary_path",
    "sweep_masks",
    "write_mask",
]

SUMMARY_SUFFIX = ".json"
TABLE_SUFFIX = ".csv"
OVERLAY, PREVIEW, PROBABILITIES = "_overlay", "_preview", "_probabilities"
BESIDE = {OVERLAY: PICTURE_SUFFIX, PREVIEW: PICTURE_SUFFIX, PROBABILITIES: SUFFIX}  # what no mask is: its suffix
DICOM_SUFFIX = ".dcm"
DICOM_ENDINGS = ("_seg", "_sc")  # of the names of results in DICOM, before their suffix

KEYS = {"model_sha256", "labels"}  # that the summary of a mask has, and no other JSON file
SIZES = ("volumes", "areas")  # one of these too


def mask_name(stem: str, scan: Path) -> str:
    """Return the name of a scan's mask: `case.nii.gz` for `case`, `case.png` where the scan is a picture."""
    return f"{stem}{PICTURE_SUFFIX if is_picture(scan) else SUFFIX}"


def is_mask_name(path: Path) -> bool:
    """Whether a path is the name of one mask or of another result, and not of a folder for masks."""
    return is_nifti(path) or _is_png(path) or is_dicom_name(path)


def is_folder_name(path: Path) -> bool:
    """Whether a path is that of a folder for masks: of one that is there, or a name without a suffix."""
    return path.is_dir() or not (path.exists() or path.suffix)


def is_dicom_name(path: Path) -> bool:
    """Whether a path is the name of a result in DICOM."""
    return path.name.lower().endswith(DICOM_SUFFIX)


def check_dicom_name(path: Path) -> None:
    """Refuse a name for a result in DICOM that does not say so.

    Raises:
        OutputError: It has another suffix.
    """
    if not is_dicom_name(path):
        raise OutputError(f"{path}: DICOM is written; choose a name that ends in {DICOM_SUFFIX}, or a folder")


def check_mask_name(mask_path: Path, *, picture: bool) -> None:
    """Refuse the name of a mask that does not go with its scan: PNG for a picture, NIfTI for any other scan.

    Raises:
        OutputError: It is of the other kind.
    """
    if picture and not _is_png(mask_path):
        raise OutputError(f"{mask_path}: masks of pictures are written as PNG; choose a name in {PICTURE_SUFFIX}")
    if not picture and not is_nifti(mask_path):
        raise OutputError(f"{mask_path}: masks are written as NIfTI; choose a name that ends in {SUFFIX}")


def summary_path(mask_path: Path) -> Path:
    """Return the path of the JSON file beside a mask: `mask.json` for `mask.nii.gz`.

    Raises:
        OutputError: The mask's suffix is not one of a mask.
    """
    if not is_mask_name(mask_path) or not _stem(mask_path):
        raise OutputError(
            f"{mask_path}: masks are written as NIfTI; choose a name that ends in {SUFFIX}, or in {PICTURE_SUFFIX} for "
            "the mask of a picture"
        )
    return mask_path.with_name(f"{_stem(mask_path)}{SUMMARY_SUFFIX}")


def result_path(mask_path: Path, ending: str) -> Path:
    """Return the path of a result in DICOM beside a mask: `case_seg.dcm` for `case.nii.gz` and the ending `_seg`."""
    return mask_path.with_name(f"{_stem(mask_path)}{ending}{DICOM_SUFFIX}")


def _stem(path: Path) -> str:
    """Return the name of a mask or another result without its suffix."""
    return path.name[: -len(DICOM_SUFFIX)] if is_dicom_name(path) else scan_stem(path)


def overlay_path(mask_path: Path) -> Path:
    """Return the path of the picture that shows a mask over its picture."""
    return mask_path.with_name(f"{scan_stem(mask_path)}{OVERLAY}{PICTURE_SUFFIX}")


def preview_path(mask_path: Path) -> Path:
    """Return the path of the picture that shows a mask over its scan."""
    return mask_path.with_name(f"{scan_stem(mask_path)}{PREVIEW}{PICTURE_SUFFIX}")


def probabilities_path(mask_path: Path) -> Path:
    """Return the path of the probabilities of a mask's structures."""
    return mask_path.with_name(f"{scan_stem(mask_path)}{PROBABILITIES}{SUFFIX}")


def is_beside_mask(path: Path) -> bool:
    """Whether a path is called as what lies beside a mask, and the mask is there."""
    return any(mask.exists() for mask in _masks_of(path))


def _masks_of(path: Path) -> list[Path]:
    """Return the masks that a path may lie beside, by its name; none where it is called otherwise."""
    for ending, suffix in BESIDE.items():
        if path.name.lower().endswith(f"{ending}{suffix}"):
            stem = path.name[: -len(ending + suffix)]
            return [path.with_name(f"{stem}{each}") for each in (*SUFFIXES, PICTURE_SUFFIX)] if stem else []
    return []


def write_mask(path: Path, mask: Mask, geometry: NiftiGeometry, labels: LabelSet) -> None:
    """Write a mask in the format of its name, over what is there.

    Args:
        path: Ends in a suffix of NIfTI or in `.png`.
        mask: On the grid of its scan, in the scan's axis order; for PNG (1, height, width).
        geometry: Of the scan's file, which a NIfTI file repeats.
        labels: What the mask's numbers stand for, which a NIfTI file says too.

    Raises:
        OutputError: It cannot be written, or is not on the scan's grid.
    """
    if not _is_png(path):
        write_labels(path, mask, geometry, names=labels, overwrite=True)
        return
    if mask.shape[0] != 1:
        raise OutputError(f"{path}: a mask of {mask.shape[0]} slices is not a picture; choose a name in {SUFFIX}")
    _, height_mm, width_mm = mask.spacing_mm
    write_picture(path, mask.get(0), pixel_mm=(height_mm, width_mm) if mask.spacing_known else None, overwrite=True)


def is_summary_name(name: str) -> bool:
    """Whether a file is called as the summary beside a mask is."""
    return name.endswith(SUMMARY_SUFFIX) and not name.startswith(".")


def files_of_summary(path: Path) -> list[Path]:
    """Return the mask, or the other result, that a summary lies beside; empty where it is not there."""
    stem = path.name.removesuffix(SUMMARY_SUFFIX)
    named = [path.with_name(f"{stem}{suffix}") for suffix in (*SUFFIXES, PICTURE_SUFFIX, DICOM_SUFFIX)]
    return [each for each in named if each.exists()][:1]


def read_summary(path: Path) -> dict[str, Any] | None:
    """Read the JSON file beside a mask that a prediction wrote; None for anything else."""
    try:
        summary = read_json_object(path, FileFormatError)
    except FileFormatError:
        return None
    return summary if summary.keys() >= KEYS and any(sizes in summary for sizes in SIZES) else None


def sweep_masks(folder: Path) -> None:
    """Remove what killed predictions left in a folder: masks and summaries that were not finished."""
    sweep_leftovers(folder, (*SUFFIXES, PICTURE_SUFFIX, DICOM_SUFFIX, SUMMARY_SUFFIX, TABLE_SUFFIX))


def is_our_summary(path: Path) -> bool:
    """Whether a file is the JSON file that a prediction writes beside a mask."""
    return read_summary(path) is not None


def is_our_mask(path: Path) -> bool:
    """Whether a file is a mask, or another result, that a prediction wrote: a summary of ours lies beside it."""
    if not is_mask_name(path) or not _stem(path):
        return False
    masks = [path]
    if is_dicom_name(path):
        stems = [_stem(path).removesuffix(ending) for ending in DICOM_ENDINGS if _stem(path).endswith(ending)]
        masks += [path.with_name(f"{stem}{DICOM_SUFFIX}") for stem in stems]
    masks += _masks_of(path)
    return any(_stem(mask) and is_our_summary(summary_path(mask)) for mask in masks)


def _is_png(path: Path) -> bool:
    return path.name.lower().endswith(PICTURE_SUFFIX)
