"""Many scans, one artifact: a folder in, a folder out; one bad file does not stop the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from embedded_vit.errors import EmbeddedVitError, InputError, OutputError
from embedded_vit.io.atomic import refuse_existing
from embedded_vit.io.dicom import holds_dicom
from embedded_vit.runtime.predictor import Predictor, Progress, is_scan, summary_path

__all__ = ["predict_path"]


def predict_path(
    predictor: Predictor,
    scan: Path,
    output: Path,
    *,
    force: bool = False,
    memory_bytes: int | None = None,
    series: int | None = None,
    on_progress: Callable[[Path], Progress] | None = None,
    on_failure: Callable[[EmbeddedVitError], None] | None = None,
) -> list[Path]:
    """Segment a scan, or every scan of a folder, and write masks and summaries.

    Args:
        predictor: The artifact.
        scan: A scan: a file, or a folder with a DICOM series; or a folder of such files and folders.
        output: The mask's file, or a folder for them; each mask is named as its scan.
        force, memory_bytes, series: As `Predictor.predict`; temporary files lie where the masks go.
        on_progress: Given a scan, makes the function to call after each of its slices.
        on_failure: Called with the error of each scan of a folder that cannot be segmented.

    Returns:
        The masks written.

    Raises:
        EmbeddedVitError: As `Predictor.predict` and `Prediction.save`, for one scan.
        InputError: The folder holds no scan, or some scans of it failed.
    """
    if not scan.is_dir() or holds_dicom(scan):
        _predict_scan(predictor, scan, output, force, memory_bytes, series, on_progress)
        return [output]
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is a file; for a folder of scans give a folder")
    scans = sorted(path for path in scan.iterdir() if (holds_dicom(path) if path.is_dir() else is_scan(path)))
    if not scans:
        raise InputError(f"{scan}: no DICOM, .nii.gz, .nii or .h5 file in this folder, nor a folder of DICOM files")
    written, failed = [], 0
    for path in scans:
        mask_path = output / f"{path.name if path.is_dir() else scan_stem(path)}.nii.gz"
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


def scan_stem(path: Path) -> str:
    """A scan's name without `.nii.gz`, `.npy.h5` and the like."""
    stem = path.name
    while (suffix := Path(stem).suffix.lower()) in (".gz", ".nii", ".h5", ".hdf5", ".npy"):
        stem = stem[: -len(suffix)]
    return stem


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
