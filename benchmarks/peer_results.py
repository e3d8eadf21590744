"""Measurement of the networks that benchmarks/peers.py trained, written as a page, a table and a JSON file."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from footnote import footnote
from peer_latency import watched

from embedded_vit.about import RESEARCH_USE_ONLY
from embedded_vit.artifact.manifest import read_artifact
from embedded_vit.compression.measure import LATENCY_THREADS, measure_artifact
from embedded_vit.compression.record import Measurements
from embedded_vit.costs.latency import Latency, paired_latency_of
from embedded_vit.costs.noise import MAXIMUM_SPREAD
from embedded_vit.datasets.data_set import DataSet, Split
from embedded_vit.engines import Engine, EngineName, engine_entry, example_image, installed_engines, load, open_graph
from embedded_vit.errors import FileFormatError
from embedded_vit.evaluation.scores import Scores
from embedded_vit.export.exporting import export
from embedded_vit.io.atomic import write_text
from embedded_vit.io.json_file import read_json_object
from embedded_vit.provenance import processor_flags, versions
from embedded_vit.report.page import PageFacts, plots_of, render_page
from embedded_vit.report.panel import slice_panel
from embedded_vit.report.pareto_plot import Plot
from embedded_vit.report.rows import ReportRow
from embedded_vit.report.tables import Column, columns_for, markdown_table
from embedded_vit.training.checkpoint import load_checkpoint, read_record, read_run_config

__all__ = ["Result", "measure_latency", "measure_once", "write_results"]

MEASURED, ARTIFACT = "measured.json", "model.onnx"
NOTHING = "–"
NOTES = (
    "Every network saw the same patients in the same training loop, its last weights were exported, and the file was "
    "scored, protocol strict; small components that no training mask has are removed from all masks alike.",
    "modern: our recipe, the same for all. theirs: U-Net with Adam 1e-3 (MONAI's tutorials) and SegFormer-B0 with "
    "AdamW 6e-4, weight decay 0.01 and a short warm-up (what its authors give to layers that are not pretrained), both "
    "with our augmentation and cosine decay, but no averaged weights, no clipping, and all slices drawn equally often; "
    "DAE-Former with the recipe paper, which is its authors': SGD, their augmentation and resizing.",
    "Minutes are the time of the training steps; their number was fixed before, from the speed of the first ones.",
    "bf16: the same file, computed in bfloat16 by OpenVINO; Dice was measured in float32.",
)


@dataclass(frozen=True)
class Backend:
    """An engine with a precision, which computes a file."""

    title: str
    engine: EngineName
    bf16: bool = False


@dataclass(frozen=True)
class Result:
    """A trained network.

    Attributes:
        run: The run folder, with the exported file in it.
        passes: How often the network saw every slice.
        measured: The measurements of the file.
        latency: Backend's title -> threads -> latency; backends that cannot run the file are missing.
    """

    run: Path
    passes: float
    measured: Measurements
    latency: dict[str, dict[str, Latency]] = field(default_factory=dict)


def measure_once(run: Path, data_folder: Path, *, threads: int) -> Measurements:
    """Export a run and measure the file, or read earlier measurements on these data.

    Raises:
        ContractError: The file does not compute what PyTorch computes.
        NetworkError: The network cannot be exported.
    """
    path = run / MEASURED
    if path.is_file():
        measured = Measurements.parse(read_json_object(path, FileFormatError), source=str(path))
        if measured.test is None or measured.test.are_of(data_folder):
            return measured
    export(run, run / ARTIFACT, data_folder=data_folder, overwrite=True)
    checkpoint = load_checkpoint(run)
    measured = measure_artifact(
        run / ARTIFACT,
        None,
        checkpoint.network,
        checkpoint.config,
        data_folder,
        run / "evaluation",
        subsets=["test"],
        threads=threads,
    )
    write_text(path, measured.model_dump_json(indent=1), overwrite=True)
    return measured


def backends() -> list[Backend]:
    """List every installed engine, and again with bf16 where engine and processor have it."""
    has_bf16 = any("bf16" in flag for flag in processor_flags())
    found = []
    for name in installed_engines():
        entry = engine_entry(name)
        found.append(Backend(f"{entry.title} f32" if entry.bf16 else entry.title, name))
        if entry.bf16 and has_bf16:
            found.append(Backend(f"{entry.title} bf16", name, bf16=True))
    return found


def open_in(backend: Backend, artifact: Path, threads: int) -> Engine:
    """Open a model file in a backend.

    Raises:
        FileFormatError: The backend cannot run it.
    """
    engine = load(artifact, backend.engine, threads=threads)  # tried in a process of its own first
    if not backend.bf16:
        return engine
    content, _ = read_artifact(artifact)
    return open_graph(content, backend.engine, threads=threads, bf16=True, source=str(artifact))


def measure_latency(results: Sequence[Result], *, repeats: int) -> tuple[list[Result], list[str]]:
    """Measure the latency of all files in turns, in every backend on 1 and 2 threads.

    Returns:
        The results with their latency, and notes on the measurement.
    """
    notes: list[str] = []
    latency: list[dict[str, dict[str, Latency]]] = [{} for _ in results]
    for backend in backends():
        for threads in LATENCY_THREADS:
            print(f"latency: {backend.title}, threads: {threads}", file=sys.stderr, flush=True)
            found, reasons = in_turns(results, backend, threads, repeats)
            if reasons:
                notes.append(f"Latency in {backend.title}, threads: {threads}, is not reliable: {'; '.join(reasons)}.")
            for place, value in found.items():
                latency[place].setdefault(backend.title, {})[str(threads)] = value
    return [replace(result, latency=of_one) for result, of_one in zip(results, latency, strict=True)], notes


def in_turns(
    results: Sequence[Result], backend: Backend, threads: int, repeats: int
) -> tuple[dict[int, Latency], list[str]]:
    """Measure all files in one backend; return place -> latency, and why the figures cannot be trusted."""
    engines, images, reasons = {}, [], []
    for place, result in enumerate(results):
        try:
            engines[place] = open_in(backend, result.run / ARTIFACT, threads)
        except FileFormatError as error:
            reasons.append(str(error))
            continue
        images.append(example_image(read_run_config(result.run).preprocessing))
    latencies, doubts = watched(threads, lambda: paired_latency_of(list(engines.values()), images, repeats=repeats))
    reasons += doubts
    found = dict(zip(engines, latencies, strict=True))
    unsteady = [str(1 + place) for place, value in found.items() if value.p90_ms > MAXIMUM_SPREAD * value.p50_ms]
    if unsteady:
        reasons.append(f"p90 is over {MAXIMUM_SPREAD} times p50 in rows {', '.join(unsteady)}")
    return found, reasons


def write_results(
    results: Sequence[Result], notes: Sequence[str], output: Path, data_set: DataSet, split: Split
) -> None:
    """Write peers.html, peers.md and peers.json; print the table."""
    rows = [report_row(result) for result in results]
    plots = plots_for(results, rows)
    facts = PageFacts(
        notes=(*NOTES, *notes),
        data=data_set.name,
        machine=footnote(),
        versions=all_versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        title="Peers",
    )
    columns = columns_of(results)
    panel = slice_panel(data_set, data_set.case(split.test[0]), rows, threads=1)
    page = render_page(rows, columns, panel, facts, plots=plots)
    _, _, table = markdown_table(rows, columns, [*fronts(plots), *facts.notes, f"{facts.machine}."]).partition("\n")
    table = f"# Peers on {data_set.name}\n{table}"
    write_text(output / "peers.html", page, overwrite=True)
    write_text(output / "peers.md", table, overwrite=True)
    write_text(output / "peers.json", as_json(results, facts), overwrite=True)
    print(table)


def report_row(result: Result) -> ReportRow:
    """Return a row of the report's page, with ONNX Runtime's latency."""
    latency_ms = {threads: value.p50_ms for threads, value in result.latency["ONNX Runtime"].items()}
    return ReportRow(result.run, "", result.run / ARTIFACT, result.measured, latency_ms)


def plots_for(results: Sequence[Result], rows: Sequence[ReportRow]) -> list[Plot]:
    """Plan the plots of Dice against the latency of every backend on 1 and 2 threads, against MACs and size."""
    plots = []
    for backend in backends():
        for threads in map(str, LATENCY_THREADS):
            of_backend = [
                plotted(row, result.latency.get(backend.title, {}).get(threads))
                for row, result in zip(rows, results, strict=True)
            ]
            dice_against_latency, *_ = plots_of(of_backend)
            title = f"Dice against latency: {backend.title}, threads: {threads}"
            plots.append(replace(dice_against_latency, title=title, x_title="median of one image (ms)"))
    _, against_macs, against_size, *_ = plots_of(rows)
    return [*plots, against_macs, against_size]


def plotted(row: ReportRow, latency: Latency | None) -> ReportRow:
    """Return the row for the plot of one backend: without a score where the backend cannot run its file."""
    if latency is None:
        return replace(row, measured=row.measured.model_copy(update={"test": None}))
    return replace(row, latency_ms={"1": latency.p50_ms})


def fronts(plots: Sequence[Plot]) -> list[str]:
    """Return the rows on the Pareto front, one sentence for each plot."""
    sentences = []
    for plot in plots:
        labels = ", ".join(point.label for point in plot.front)
        sentences.append(f"{plot.title}, the Pareto front by rising cost: rows {labels}.")
    return sentences


def columns_of(results: Sequence[Result]) -> list[Column]:
    """Return the report's columns, and those of training time, worst organ and patient, and latency by backend."""
    of_run = {result.run: result for result in results}

    def latency(row: ReportRow, title: str) -> str:
        found = of_run[row.run].latency.get(title, {})
        return " / ".join(f"{value.p50_ms:.2f}" for value in found.values()) or NOTHING

    dice, *others = columns_for(scores(results[0].measured).unit)
    return [
        Column("Passes over the slices", lambda row: f"{of_run[row.run].passes:.3g}"),
        Column("Minutes", lambda row: f"{minutes(row.run):.1f}"),
        dice,
        Column("Worst organ", lambda row: worst(scores(row.measured).organs)),
        Column("Worst patient", lambda row: worst(scores(row.measured).by_case)),
        *others,
        *(
            Column(f"{backend.title}, 1 / 2 threads (ms)", partial(latency, title=backend.title))
            for backend in backends()[1:]
        ),
    ]


def scores(measured: Measurements) -> Scores:
    """Return the scores on the test cases, which every network of this script has."""
    assert measured.test is not None
    return measured.test


def minutes(run: Path) -> float:
    """Return the minutes of the training."""
    return sum(epoch.seconds for epoch in read_record(run).epochs) / 60


def worst(dice: Mapping[str, float | None]) -> str:
    """Return the lowest Dice that is known, with the organ or patient that has it."""
    known = {name: value for name, value in dice.items() if value is not None}
    if not known:
        return NOTHING
    name = min(known, key=lambda name: known[name])
    return f"{name} {known[name]:.2f}"


def all_versions() -> dict[str, str]:
    """Return the installed versions of all libraries that the figures depend on."""
    found = versions()
    for library in (*(engine_entry(name).package for name in installed_engines()), "monai", "transformers"):
        with suppress(PackageNotFoundError):
            found[library] = version(library)
    return found


def as_json(results: Sequence[Result], facts: PageFacts) -> str:
    """Return all results as JSON."""
    rows = [
        {
            "run": result.run.name,
            "passes": result.passes,
            "minutes": minutes(result.run),
            "network": (config := read_run_config(result.run)).network.model_dump(mode="json"),
            "training": config.training.model_dump(mode="json"),
            "measured": result.measured.model_dump(mode="json"),
            "latency": {
                title: {threads: asdict(value) for threads, value in of_backend.items()}
                for title, of_backend in result.latency.items()
            },
        }
        for result in results
    ]
    return json.dumps({"rows": rows, **asdict(facts), "use": RESEARCH_USE_ONLY}, indent=1, ensure_ascii=False) + "\n"
