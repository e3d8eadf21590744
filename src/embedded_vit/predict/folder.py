"""Prediction of a folder of scans; one bad scan does not stop the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from embedded_vit.errors import EmbeddedVitError, FileFormatError, InputError, OutputError
from embedded_vit.io.atomic import refuse_existing
from embedded_vit.io.mask_file import is_mask_name, mask_name, summary_path
from embedded_vit.io.scan_source import EXPECTED, is_scan
from embedded_vit.predict.predictor import Predictor, Progress

__all__ = ["predict_path"]


def predict_path(
    predictor: Predictor,
    scan: str | Path,
    output: str | Path,
    *,
    force: bool = False,
    memory_bytes: int | None = None,
    series: int | None = None,
    on_progress: Callable[[Path], Progress] | None = None,
    on_failure: Callable[[EmbeddedVitError], None] | None = None,
) -> list[Path]:
    """Segment a scan, or every scan of a folder, and write masks and summaries.

    Args:
        predictor: The model.
        scan: A file, a folder with a DICOM series, or a folder that holds scans at any depth.
        output: The mask's file, or a folder for masks. There each mask has the relative path and the name of its scan.
        force, memory_bytes, series: As `Predictor.predict`; temporary files lie where the masks go.
        on_progress: Takes the path of a scan; returns the function to call after each of its slices.
        on_failure: Called with the error of each scan of a folder that cannot be segmented.

    Returns:
        The masks written.

    Raises:
        EmbeddedVitError: As `Predictor.predict` and `Prediction.save`, for one scan.
        InputError: The folder holds no scan, or some scans of it failed.
    """
    scan, output = Path(scan), Path(output)
    if not scan.is_dir() or is_scan(scan):
        _predict_scan(predictor, scan, output, force, memory_bytes, series, on_progress)
        return [output]
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is a file; give a folder for the masks of a folder of scans")
    scans = list(find_scans(scan, leave_out=output))
    if not scans:
        raise InputError(f"{scan}: no scan in this folder, nor in any folder below; expected {EXPECTED}")
    if is_mask_name(output):
        if len(scans) > 1:
            raise OutputError(f"{output}: is the name of one mask, and {scan} holds {len(scans)} scans; give a folder")
        _predict_scan(predictor, scans[0], output, force, memory_bytes, series, on_progress)
        return [output]
    written, failed = [], 0
    for path in scans:
        mask_path = output / path.relative_to(scan).with_name(mask_name(path))
        try:
            _predict_scan(predictor, path, mask_path, force, memory_bytes, series, on_progress)
            written.append(mask_path)
        except EmbeddedVitError as error:
            failed += 1
            if on_failure is not None:
                on_failure(error)
    if failed:
        raise InputError(f"{scan}: {failed} of {len(scans)} scans failed; {len(written)} masks are in {output}")
    return written


def find_scans(folder: Path, *, leave_out: Path) -> Iterator[Path]:
    """Yield the scans below a folder, in order: folders that are one scan, and scan files in all other folders.

    Args:
        folder: Where to look; it is not a scan itself. Names that begin with a dot are left out.
        leave_out: The folder of the masks, which is left out too.

    Raises:
        FileFormatError: A folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise FileFormatError(f"{error.filename}: cannot be read: {error.strerror}") from error

    left_out = leave_out.resolve()
    for place, folders, files in os.walk(folder, onerror=refuse):
        here = Path(place)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (here / name).resolve() != left_out
        )
        if here != folder and is_scan(here):
            yield here
        else:
            yield from (here / name for name in sorted(files) if is_scan(here / name) and not name.startswith("."))


def _predict_scan(
    predictor: Predictor,
    scan: Path,
    output: Path,
    force: bool,
    memory_bytes: int | None,
    series: int | None,
    on_progress: Callable[[Path], Progress] | None,
) -> None:
    for path in (output, summary_path(output)):  # before any computing
        refuse_existing(path)
    prediction = predictor.predict(
        scan,
        force=force,
        memory_bytes=memory_bytes,
        spool_folder=next(folder for folder in output.absolute().parents if folder.exists()),
        series=series,
        on_progress=on_progress(scan) if on_progress else None,
    )
    prediction.save(output)
