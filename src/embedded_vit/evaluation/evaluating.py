"""Evaluation: a model and a data set become scores, tables and a report, with one case in memory at a time."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from embedded_vit.counted import counted
from embedded_vit.datasets import open_data_set_like
from embedded_vit.datasets.data_set import Case, DataSet
from embedded_vit.datasets.identity import data_content
from embedded_vit.engines import EngineChoice
from embedded_vit.errors import ConfigError, DataSetError, InputError, OutputError
from embedded_vit.evaluation.brats import brats_document, brats_lesions
from embedded_vit.evaluation.evaluated_model import ChosenCases, EvaluatedModel, Precision, Subset, open_model
from embedded_vit.evaluation.known_parts import scored, without_ignored
from embedded_vit.evaluation.pictures import PictureCollector, SlicePicture
from embedded_vit.evaluation.protocol import PROTOCOLS, Protocol, ProtocolName
from embedded_vit.evaluation.report import render_report
from embedded_vit.evaluation.results import CaseResult, Evaluation, Provenance, cases_csv, metrics_json
from embedded_vit.io.atomic import check_folder, refuse_existing, write_text
from embedded_vit.io.digest import sha256_of
from embedded_vit.io.json_file import read_json_object
from embedded_vit.labels import LabelSet
from embedded_vit.printable import bar_text
from embedded_vit.provenance import available_cores, case_digest, describe_machine, versions
from embedded_vit.volume import LabelMap, Volume

__all__ = [
    "CASES_FILE",
    "METRICS_FILE",
    "REPORT_FILE",
    "evaluate",
    "evaluate_once",
    "length_notes",
    "prepare_output",
    "provenance_of",
    "score_model",
    "unscored_notes",
    "write_results",
]

CASES_FILE, METRICS_FILE, REPORT_FILE = "cases.csv", "metrics.json", "report.html"

OnCase = Callable[[str, Volume, LabelMap, LabelMap], None]


def evaluate(
    model_path: str | Path,
    data_folder: str | Path,
    *,
    output: str | Path,
    subset: Subset = "test",
    protocol: ProtocolName = "strict",
    threads: int | None = None,
    precision: Precision = "fp32",
    engine: EngineChoice = "onnxruntime",
    patient: str | None = None,
    on_case: OnCase | None = None,
    bars: bool = True,
) -> Evaluation:
    """Segment and score every case of a subset, and write `cases.csv`, `metrics.json` and `report.html`.

    A case that cannot be read or has no mask is left out, and named in `Evaluation.unscored` and in all three files.

    Args:
        model_path: A run folder or an artifact.
        data_folder: A data set in any layout that `open_data_set` knows, with the model's structures.
        output: The folder to write into; made if it is not there.
        subset: A part of the split that the model was trained with; "all" takes every case of the folder.
        protocol: See `embedded_vit.evaluation.protocol`.
        threads: CPU threads; by default one for each core that this process may use.
        precision: The precision of products, for a run folder.
        engine: The engine for an artifact; "auto" is the fastest.
        patient: How the patient of a case is recognised, as `open_data_set` takes it; intervals are over patients.
        on_case: Called after each case with its name, scan, true mask and predicted mask.
        bars: Whether to show progress bars on a terminal.

    Raises:
        ConfigError: `threads` is less than 1, fp16 is given for an artifact, or an engine for a run folder.
        OutputError: `output` already holds results, or cannot be written.
        DataSetError: The data set does not fit the model, the subset is empty, or none of its cases can be scored.
        CheckpointError, FileFormatError: The model cannot be read.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, got {threads}")
    output = Path(output)
    prepare_output(output)
    evaluation, pictures = score_model(
        *(model_path, data_folder),
        subset=subset,
        protocol=protocol,
        threads=threads,
        precision=precision,
        engine=engine,
        patient=patient,
        on_case=on_case,
        bars=bars,
    )
    write_results(output, evaluation, pictures)
    return evaluation


def score_model(
    model_path: str | Path,
    data_folder: str | Path,
    *,
    on_case: OnCase | None = None,
    bars: bool = True,
    patient: str | None = None,
    subset: Subset = "test",
    protocol: ProtocolName = "strict",
    threads: int | None = None,
    precision: Precision = "fp32",
    engine: EngineChoice = "onnxruntime",
) -> tuple[Evaluation, dict[str, SlicePicture]]:
    """Segment and score every case of a subset; arguments and errors as `evaluate`.

    Returns:
        All scores, and the slices that a report shows, by name.
    """
    threads = threads or available_cores()
    model = open_model(Path(model_path), threads=threads, precision=precision, engine=engine)
    data_set = open_data_set_like(data_folder, model.contract.labels.names, patient=patient)
    model.check_fits(data_set)
    chosen = model.choose(data_set, subset)
    pictures = PictureCollector(model.contract)
    runner = _Runner(model, data_set, PROTOCOLS[protocol], pictures, threads, on_case, bars)
    results, unscored = runner.evaluate(chosen)
    evaluation = Evaluation(
        cases=tuple(results),
        labels=runner.labels,
        protocol=PROTOCOLS[protocol],
        subset=subset,
        unit=results[0].unit,
        provenance=provenance_of(model.provenance, data_set, results),
        unscored=unscored,
        notes=chosen.notes
        + unscored_notes(unscored)
        + length_notes(PROTOCOLS[protocol], results[0].unit)
        + _precision_notes(precision),
    )
    return evaluation, pictures.chosen()


def write_results(output: Path, evaluation: Evaluation, pictures: Mapping[str, SlicePicture]) -> None:
    """Write `cases.csv`, `report.html`, and last `metrics.json`.

    Raises:
        OutputError: A file is there already, or cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output}: cannot create this folder: {error.strerror or error}") from error
    write_text(output / CASES_FILE, cases_csv(evaluation))
    write_text(output / REPORT_FILE, render_report(evaluation, pictures))
    write_text(output / METRICS_FILE, metrics_json(evaluation, brats_document(evaluation)))


def evaluate_once(model_path: Path, data_folder: Path, output: Path, *, threads: int | None = None) -> None:
    """Test a model on its own test cases unless that is complete already, for this model and these files.

    Args:
        model_path, data_folder, threads: As `evaluate` takes them.
        output: The folder to write into; an older evaluation, or what a killed one left behind, is removed.

    Raises:
        As `evaluate`.
    """
    if (output / METRICS_FILE).exists() and _is_of(output / METRICS_FILE, model_path, data_folder):
        return
    shutil.rmtree(output, ignore_errors=True)
    evaluate(model_path, data_folder, output=output, threads=threads)


def _is_of(metrics: Path, model_path: Path, data_folder: Path) -> bool:
    """Return whether an evaluation was made with this model and with the files as they are now."""
    document = read_json_object(metrics, DataSetError, hint="remove the folder")
    try:
        model, data, names = document["model"]["sha256"], document["data"]["files_sha256"], list(document["cases"])
        structures = list(document["organs"])
    except (KeyError, TypeError):
        return False
    weights = model_path / "model.safetensors" if model_path.is_dir() else model_path
    if model != sha256_of(weights):
        return False
    return bool(data == data_content(open_data_set_like(data_folder, structures), names))


def prepare_output(output: Path) -> None:
    """Refuse an output folder that cannot be written, or that holds results, before any work is done."""
    check_folder(output)
    for name in (CASES_FILE, METRICS_FILE, REPORT_FILE):
        refuse_existing(output / name)


@dataclass(frozen=True)
class _Runner:
    """The settings that all cases share."""

    model: EvaluatedModel
    data_set: DataSet
    protocol: Protocol
    pictures: PictureCollector
    threads: int
    on_case: OnCase | None
    bars: bool

    @property
    def labels(self) -> LabelSet:
        """The structures, with the regions of the data set where it states some."""
        ours = self.model.contract.labels
        return ours.model_copy(update={"regions": self.data_set.labels.regions or ours.regions})

    def evaluate(self, chosen: ChosenCases) -> tuple[list[CaseResult], dict[str, str]]:
        """Segment and score the cases one after another; only the scores and a few slices of each are kept.

        Returns:
            The results, and for each case that cannot be scored the reason.

        Raises:
            DataSetError: No case can be scored.
        """
        results: list[CaseResult] = []
        unscored: dict[str, str] = {}
        with _progress_bars(shown=self.bars) as progress:
            case_bar = progress.add_task("cases", total=len(chosen.cases))
            slice_bar = progress.add_task("slices")
            for case, known_as in chosen.cases:
                try:
                    volume, truth = self.data_set.read_case(case)
                    if results:
                        self._check_unit(truth, results[0])
                except InputError as error:
                    unscored[case.name] = str(error)
                else:
                    results.append(self._evaluate_case(case, known_as, volume, truth, progress, slice_bar))
                progress.advance(case_bar)
        if not results:
            first, reason = next(iter(unscored.items()))
            raise DataSetError(f"none of {counted(len(unscored), 'case')} can be scored; {first}: {reason}")
        return results, unscored

    def _check_unit(self, truth: LabelMap, first: CaseResult) -> None:
        """Refuse a case whose lengths are in another unit than those of the first case."""
        unit = self.protocol.unit(truth)
        if unit != first.unit:
            raise DataSetError(
                f"its lengths are in {unit}, those of {first.name} in {first.unit}: the spacing is known for some "
                "cases only, so HD95 has no mean; use --protocol transunet"
            )

    def _evaluate_case(
        self, case: Case, known_as: str, volume: Volume, truth: LabelMap, progress: Progress, slice_bar: TaskID
    ) -> CaseResult:
        contract = self.model.contract
        slices, _, _ = volume.reoriented(contract.preprocessing.orientation).shape
        progress.reset(slice_bar, total=slices, description=bar_text(case.name))
        start = time.perf_counter()
        prediction = self.protocol.segment(
            volume, contract, self.model.engine, on_slice=lambda: progress.advance(slice_bar)
        )
        seconds = time.perf_counter() - start
        digest = case_digest(volume, truth)
        prediction, truth = without_ignored(prediction, truth)
        scores, regions = scored(self.protocol, prediction, truth, self.labels, case.unlabelled, self.threads)
        lesions = brats_lesions(self.protocol, prediction, truth, self.labels, case.unlabelled)
        self.pictures.add(case.name, volume, truth, prediction)
        if self.on_case is not None:
            self.on_case(case.name, volume, truth, prediction)
        unit = self.protocol.unit(truth)
        return CaseResult(case.name, known_as, scores, unit, seconds, digest, regions, case.patient, lesions)


def _progress_bars(*, shown: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not (shown and console.is_terminal),
    )


def unscored_notes(unscored: Mapping[str, str]) -> tuple[str, ...]:
    """Return a note for each case that could not be scored."""
    return tuple(f"Not scored: {name}: {reason}." for name, reason in unscored.items())


def length_notes(protocol: Protocol, unit: str) -> tuple[str, ...]:
    """Return a note where a protocol that measures in mm had to measure in voxels."""
    if protocol.name == "strict" and unit != "mm":
        return (f"The data set stores no spacing: HD95 and the tolerance of NSD are in {unit}.",)
    return ()


def _precision_notes(precision: Precision) -> tuple[str, ...]:
    return ("Computed in half precision: weights are float32, products float16.",) if precision == "fp16" else ()


def provenance_of(model: dict[str, str], data_set: DataSet, results: list[CaseResult]) -> Provenance:
    """Return where figures come from: model or masks, the scored cases, this machine, versions and the time."""
    data_digest = hashlib.sha256("".join(sorted(result.digest for result in results)).encode()).hexdigest()
    return Provenance(
        model=model,
        data={
            "path": str(data_set.folder),
            "name": data_set.name,
            "layout": data_set.layout,
            "cases": str(len(results)),
            "sha256": data_digest,
            "files_sha256": data_content(data_set, (result.name for result in results)),
        },
        machine=describe_machine(),
        versions=versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
