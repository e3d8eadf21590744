"""How the files of a mask are named: `case.nii.gz` for the mask of `case.nii`, and `case.json` beside it."""

from __future__ import annotations

from pathlib import Path

from embedded_vit.errors import OutputError
from embedded_vit.io.nifti.stream import SUFFIX, is_nifti
from embedded_vit.io.scan_source import scan_stem

__all__ = ["is_mask_name", "mask_name", "summary_path"]


def mask_name(scan: Path) -> str:
    """Return the name of a scan's mask; two scans of one folder may have the same."""
    return f"{scan_stem(scan)}{SUFFIX}"


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
    return mask_path.with_name(f"{scan_stem(mask_path)}.json")
