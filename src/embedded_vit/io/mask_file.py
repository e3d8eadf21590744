"""How the files of a mask are named: `case.nii.gz` for the mask of `case.nii`, and `case.json` beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embedded_vit.errors import FileFormatError, OutputError
from embedded_vit.io.atomic import sweep_leftovers
from embedded_vit.io.json_file import read_json_object
from embedded_vit.io.nifti.stream import SUFFIX, SUFFIXES, is_nifti
from embedded_vit.io.scan_source import scan_stem

__all__ = ["is_mask_name", "is_our_summary", "mask_name", "read_summary", "summary_path", "sweep_masks"]

SUMMARY_SUFFIX = ".json"

KEYS = {"model_sha256", "volumes", "labels"}  # that the summary of a mask has, and no other JSON file


def mask_name(stem: str) -> str:
    """Return the name of a mask: `case.nii.gz` for `case`."""
    return f"{stem}{SUFFIX}"


def is_mask_name(path: Path) -> bool:
    """Whether a path is the name of one mask, and not of a folder for masks."""
    return is_nifti(path)


def summary_path(mask_path: Path) -> Path:
    """Return the path of the JSON file beside a mask: `mask.json` for `mask.nii.gz`.

    Raises:
        OutputError: The mask's suffix is not NIfTI's.
    """
    if not is_mask_name(mask_path) or not scan_stem(mask_path):
        raise OutputError(f"{mask_path}: masks are written as NIfTI; choose a name that ends in {SUFFIX}")
    return mask_path.with_name(f"{scan_stem(mask_path)}{SUMMARY_SUFFIX}")


def read_summary(path: Path) -> dict[str, Any] | None:
    """Read the JSON file beside a mask that a prediction wrote; None for anything else."""
    try:
        summary = read_json_object(path, FileFormatError)
    except FileFormatError:
        return None
    return summary if summary.keys() >= KEYS else None


def sweep_masks(folder: Path) -> None:
    """Remove what killed predictions left in a folder: masks and summaries that were not finished."""
    sweep_leftovers(folder, (*SUFFIXES, SUMMARY_SUFFIX))


def is_our_summary(path: Path) -> bool:
    """Whether a file is the JSON file that a prediction writes beside a mask."""
    return read_summary(path) is not None
