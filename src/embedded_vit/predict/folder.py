"""Prediction of one scan or of a folder of scans; one bad scan does not stop the others, and a killed run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from embedded_vit.errors import OutputError
from embedded_vit.io.channels import FoundScan, found_scans
from embedded_vit.io.mask_file import is_folder_name, is_mask_name, mask_name, summary_path, sweep_masks
from embedded_vit.io.scan_source import is_scan, scan_stem
from embedded_vit.predict.listener import Listener
from embedded_vit.predict.one_scan import ScanWriter
from embedded_vit.predict.predictor import Predictor
from embedded_vit.predict.results import Results

__all__ = ["Listener", "predict_path"]


def predict_path(
    predictor: Predictor,
    scan: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    force: bool = False,
    memory_bytes: int | None = None,
    series: int | None = None,
    listener: Listener | None = None,
    results: Results | None = None,
) -> list[Path]:
    """Segment a scan, or every scan of a folder, and write masks and summaries.

    The same call again goes on where one was stopped: masks that are there already, by this model and version, stay.

    Args:
        predictor: The model.
        scan: A file, a folder with a DICOM series, or a folder that holds scans at any depth. Several files are the
            channels of one scan.
        output: The mask's file, or a folder for masks. There each mask has the relative path and the name of its scan,
            or of its case where its files are numbered: `case.nii.gz` for `case_0000.nii.gz`. Beside the masks of a
            folder lies `volumes.csv`, one row per scan.
        force, memory_bytes, series: As `Predictor.predict`; temporary files lie where the masks go.
        listener: Whom to tell how it goes on.
        results: What is written of each scan; by default the mask. Others lie beside it, named after it.

    Returns:
        The masks of all scans that are there afterwards, and the other results.

    Raises:
        EmbeddedVitError: As `Predictor.predict` and `Prediction.save`, for one scan.
        InputError: The folder holds no scan, or some scans of it failed.
    """
    output = Path(output)
    writer = ScanWriter(predictor, force, memory_bytes, series, listener or Listener(), results or Results())
    given = [Path(scan)] if isinstance(scan, (str, Path)) else [Path(path) for path in scan]
    if len(given) == 1 and given[0].is_dir():
        return _predict_folder(writer, given[0], output)
    stems = {path: scan_stem(path) for path in given}
    names = predictor.manifest.preprocessing.channels
    found = found_scans(given, names, stems) if len(given) == len(names) else []
    name = found[0].name if len(found) == 1 else stems[given[0]]
    if not is_mask_name(output) and is_folder_name(output):
        output = writer.results.name(output / mask_name(name, given[0]))
    return _predict_one(writer, FoundScan(given[0], tuple(given), name), output)


def _predict_one(writer: ScanWriter, scan: FoundScan, output: Path) -> list[Path]:
    if writer.results.mask:
        summary_path(output)
    else:
        writer.results.check_name(output, picture=False)
    sweep_masks(output.parent)
    writer.predict(scan, output)
    return writer.results.files(output)


def _predict_folder(writer: ScanWriter, folder: Path, output: Path) -> list[Path]:
    from embedded_vit.predict.bulk.running import predict_here, scans_in  # what a single scan does not wait for

    if output.exists() and not output.is_dir() and not is_mask_name(output):
        raise OutputError(f"{output}: is a file; give a folder for the masks of a folder of scans")
    scans = scans_in(folder, writer.predictor.manifest.preprocessing.channels, output, writer.listener)
    if is_mask_name(output) or (is_scan(folder) and len(scans) == 1 and not is_folder_name(output)):
        if len(scans) > 1:
            raise OutputError(
                f"{output}: is the name of one mask, and {folder} holds {len(scans)} scans; give a folder"
            )
        return _predict_one(writer, scans[0], output)
    return predict_here(writer, scans, folder, output)
