"""Prediction of one scan or of a folder of scans; one bad scan does not stop the others, and a killed run goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embedded_vit.about import __version__
from embedded_vit.errors import EmbeddedVitError, InputError, OutputError
from embedded_vit.io.atomic import refuse_existing
from embedded_vit.io.channels import FoundScan, found_scans
from embedded_vit.io.mask_file import (
    is_folder_name,
    is_mask_name,
    mask_name,
    read_summary,
    summary_path,
    sweep_masks,
)
from embedded_vit.io.pictures import is_picture
from embedded_vit.io.scan_folder import find_scans
from embedded_vit.io.scan_source import EXPECTED, ScanSource, is_scan, scan_stem
from embedded_vit.predict.predictor import Predictor, Progress
from embedded_vit.predict.results import Results

__all__ = ["Listener", "predict_path"]


@dataclass(frozen=True)
class Listener:
    """The functions that are told how a prediction goes on; each may be left out.

    Attributes:
        on_progress: Takes the path of a scan; returns the function to call after each of its slices.
        on_failure: Takes the error of each scan of a folder that cannot be segmented.
        on_remark: Takes a sentence that a person should read: a warning of a scan, which files are its channels, what
            was left out of a folder, how many masks were there already.
    """

    on_progress: Callable[[Path], Progress] | None = None
    on_failure: Callable[[EmbeddedVitError], None] = field(default=lambda _: None)
    on_remark: Callable[[str], None] = field(default=lambda _: None)


@dataclass(frozen=True)
class _Run:
    """What all scans of a call share."""

    predictor: Predictor
    force: bool
    memory_bytes: int | None
    series: int | None
    listener: Listener
    results: Results

    def predict(self, scan: FoundScan, output: Path) -> None:
        """Segment a scan and write its files.

        Raises:
            EmbeddedVitError: As `predict_path`.
        """
        self.results.check_name(output, picture=is_picture(scan.files[0]))
        self.results.refuse_existing(output)
        files = self.predictor.in_order(scan.files)
        names = self.predictor.manifest.preprocessing.channels
        if len(files) > 1 and len(files) == len(names):
            shown = ", ".join(f"{name} = {file.name}" for name, file in zip(names, files, strict=True))
            self.listener.on_remark(f"{scan.place}: channels: {shown}")

        def on_open(source: ScanSource) -> None:
            for remark in self.results.check(source):
                self.listener.on_remark(f"{scan.place}: {remark}")

        prediction = self.predictor.predict(
            files,
            force=self.force,
            memory_bytes=self.memory_bytes,
            spool_folder=next(folder for folder in output.absolute().parents if folder.exists()),
            series=self.series,
            on_progress=self.listener.on_progress(scan.place) if self.listener.on_progress else None,
            on_open=on_open,
            keep_scan=bool(self.results.others),
        )
        self.results.save(prediction, output, self.predictor.contract)
        for warning in prediction.warnings:
            self.listener.on_remark(f"{scan.place}: warning: {warning}")

    def is_there(self, output: Path) -> bool:
        """Whether the files that this model and version would write are there.

        Raises:
            OutputError: There is another one.
        """
        summary = read_summary(summary_path(output))
        if summary is None or not all(path.exists() for path in self.results.files(output)):
            return False
        if (summary["model_sha256"], summary.get("embedded_vit")) == (self.predictor.model_sha256, __version__):
            return True
        raise OutputError(
            f"{output}: exists already, by model {summary.get('model')!s:.60} and version "
            f"{summary.get('embedded_vit')!s:.20}; choose another folder or remove it"
        )


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
            or of its case where its files are numbered: `case.nii.gz` for `case_0000.nii.gz`.
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
    run = _Run(predictor, force, memory_bytes, series, listener or Listener(), results or Results())
    given = [Path(scan)] if isinstance(scan, (str, Path)) else [Path(path) for path in scan]
    if len(given) == 1 and given[0].is_dir():
        return _predict_folder(run, given[0], output)
    stems = {path: scan_stem(path) for path in given}
    names = predictor.manifest.preprocessing.channels
    found = found_scans(given, names, stems) if len(given) == len(names) else []
    name = found[0].name if len(found) == 1 else stems[given[0]]
    if not is_mask_name(output) and is_folder_name(output):
        output = run.results.name(output / mask_name(name, given[0]))
    return _predict_one(run, FoundScan(given[0], tuple(given), name), output)


def _predict_one(run: _Run, scan: FoundScan, output: Path) -> list[Path]:
    if run.results.mask:
        summary_path(output)
    else:
        run.results.check_name(output, picture=False)
    sweep_masks(output.parent)
    run.predict(scan, output)
    return run.results.files(output)


def _predict_folder(run: _Run, folder: Path, output: Path) -> list[Path]:
    if output.exists() and not output.is_dir() and not is_mask_name(output):
        raise OutputError(f"{output}: is a file; give a folder for the masks of a folder of scans")
    channels = run.predictor.manifest.preprocessing.channels
    scans, left_out = find_scans(folder, channels=channels, leave_out=output)
    for what in left_out:
        run.listener.on_remark(f"left out: {what}")
    if not scans:
        raise InputError(f"{folder}: no scan in this folder, nor in any folder below; expected {EXPECTED}")
    if is_mask_name(output) or (is_scan(folder) and len(scans) == 1 and not is_folder_name(output)):
        if len(scans) > 1:
            raise OutputError(
                f"{output}: is the name of one mask, and {folder} holds {len(scans)} scans; give a folder"
            )
        return _predict_one(run, scans[0], output)
    return _predict_all(run, folder, scans, output)


def _predict_all(run: _Run, folder: Path, scans: Sequence[FoundScan], output: Path) -> list[Path]:
    """Segment the scans of a folder, each into the place that it has there."""
    masks: list[Path] = []
    written: list[Path] = []
    there, failed = 0, 0
    for scan in scans:
        relative = scan.place.relative_to(folder).parent if scan.place != folder else Path()
        mask_path = run.results.name(output / relative / mask_name(scan.name, scan.files[0]))
        try:
            if mask_path in masks:  # of a scan before this one
                refuse_existing(mask_path)
            if mask_path.parent not in {mask.parent for mask in masks}:
                sweep_masks(mask_path.parent)
            if run.is_there(mask_path):
                there += 1
            else:
                run.predict(scan, mask_path)
            masks.append(mask_path)
            written += run.results.files(mask_path)
        except EmbeddedVitError as error:
            failed += 1
            run.listener.on_failure(error)
    if there:
        run.listener.on_remark(f"{output}: {there} {'was' if there == 1 else 'were'} there already")
    if failed:
        raise InputError(f"{folder}: {failed} of {len(scans)} scans failed; {len(masks)} masks are in {output}")
    return written
