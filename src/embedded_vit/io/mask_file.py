"""How the files of a mask are named: `case.nii.gz` for the mask of `case.nii`, and `case.json` beside it."""

from __future__ import annotations

from pathlib import Path

from embedded_vit.errors import OutputError
from embedded_vit.io.nifti.stream import SUFFIX, SUFFIXES, is_nifti
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
    for suffix in SUFFIXES:
        if mask_path.name.lower().endswith(suffix) and len(mask_path.name) > len(suffix):
            return mask_path.with_name(mask_path.name[: -len(suffix)] + ".json")
    raise OutputError(f"{mask_path}: masks are written as NIfTI; choose a name that ends in {SUFFIX}")
