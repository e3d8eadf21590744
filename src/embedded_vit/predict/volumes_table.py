"""`volumes.csv` of a folder of masks: one row per scan, with the sizes of its structures.

The table is a function of the folder: of the masks in it and of the summaries beside them. So a run that was killed
loses nothing, and a folder that was segmented in several runs has one table.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from embedded_vit.columns import csv_text
from embedded_vit.errors import OutputError
from embedded_vit.io.atomic import write_text
from embedded_vit.io.mask_file import SIZES, files_of_summary, is_summary_name, read_summary

__all__ = ["VOLUMES_FILE", "check_table", "write_table"]

VOLUMES_FILE = "volumes.csv"
BEFORE, AFTER = ("mask", "model", "unit"), ("forced", "warnings")  # columns beside those of the structures
MOST_CHARACTERS = 200  # of a first line that are looked at


def check_table(folder: Path) -> None:
    """Refuse a folder that holds another file of the table's name.

    Raises:
        OutputError: There is one, or it cannot be read.
    """
    path = folder / VOLUMES_FILE
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            first = file.readline(MOST_CHARACTERS)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{path}: cannot be read: {error.strerror or error}; choose another folder") from error
    if not first.startswith(",".join(BEFORE)):
        raise OutputError(f"{path}: exists already and is not a list of ours; choose another folder or remove it")


def write_table(folder: Path) -> None:
    """Write the table of the masks that a folder holds, at any depth; whole or not at all, and only if it changed.

    Raises:
        OutputError: It cannot be written.
    """
    rows = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        for path in (Path(place, name) for name in sorted(names) if is_summary_name(name)):
            if (summary := read_summary(path)) is None:
                continue
            for mask in files_of_summary(path):
                rows.append({**_sizes(summary), **_facts(mask.relative_to(folder).as_posix(), summary)})
    if not rows:
        return
    sizes = dict.fromkeys(name for row in rows for name in row if name not in (*BEFORE, *AFTER))
    ordered = sorted(rows, key=lambda row: str(row["mask"]))
    path, text = folder / VOLUMES_FILE, csv_text([*BEFORE, *sizes, *AFTER], ordered)
    if not path.exists() or path.read_bytes() != text.encode():
        write_text(path, text, overwrite=True)


def _sizes(summary: dict[str, Any]) -> dict[str, object]:
    """Return the sizes of a scan's structures and regions; one that is called as a column of ours is told from it."""
    sizes = {**next(summary[key] for key in SIZES if key in summary), **summary.get("regions", {})}
    return {f"{name} " if name in (*BEFORE, *AFTER) else name: size for name, size in sizes.items()}


def _facts(name: str, summary: dict[str, Any]) -> dict[str, object]:
    warnings = summary.get("warnings", [])
    return {
        "mask": name,
        "model": summary.get("model"),
        "unit": summary.get("unit"),
        "forced": int(bool(summary.get("forced"))),
        "warnings": len(warnings),
    }
