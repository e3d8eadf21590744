"""Folders of DICOM files that hold one series together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["put_together"]

Places = set[tuple[float, ...]]


def put_together(folders: Sequence[Path]) -> list[tuple[Path, ...]]:
    """Put folders together that hold slices of one series at different places.

    Folders with slices at the same places hold copies, or patients whose identity was made the same; they stay apart.

    Args:
        folders: Each holds DICOM files, whatever lies below it.

    Raises:
        FileFormatError: A file cannot be read.
    """
    if len(folders) < 2:
        return [(folder,) for folder in folders]
    groups: list[tuple[list[Path], dict[str, Places]]] = []
    for folder in folders:
        places = _places(folder)
        for members, known in groups:
            common = {series for series in places if series and series in known}
            if common and not any(places[series] & known[series] for series in common):
                members.append(folder)
                for series, found in places.items():
                    known.setdefault(series, set()).update(found)
                break
        else:
            groups.append(([folder], places))
    return [tuple(members) for members, _ in groups]


def _places(folder: Path) -> dict[str, Places]:
    """Return where the slices of each series in a folder lie; nothing without pydicom."""
    try:
        from embedded_vit.io.dicom.header import PassedOver, read_file
    except ModuleNotFoundError as error:
        if error.name != "pydicom":
            raise
        return {}
    places: dict[str, Places] = {}
    for path in sorted(folder.iterdir()):
        file = read_file(path) if path.is_file() else None
        if file is None or isinstance(file, PassedOver):
            continue
        found = places.setdefault(file.series, set())
        with suppress(Exception):  # a damaged position; whoever reads the series says so
            found.add(tuple(map(float, file.tags.get("ImagePositionPatient") or ())))
    return places
