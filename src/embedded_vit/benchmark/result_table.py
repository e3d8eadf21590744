"""The table that a benchmark prints: plain text of at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from embedded_vit.benchmark.accuracy_gate import Accuracy
from embedded_vit.benchmark.queries import STREAMED_SLICES
from embedded_vit.benchmark.result import MODEL_LETTERS, BenchmarkResult, Measurement, Model, Timing
from embedded_vit.columns import in_columns
from embedded_vit.counted import counted
from embedded_vit.engines.single_stream import PairedRatio
from embedded_vit.printable import printable

__all__ = ["milliseconds", "result_text"]

WIDTH = 100
SCOPES = {
    "network": "the network alone",
    "slice": "a slice, from stored intensities to labels on the scan's grid",
    "volume": "a whole scan",
}
TIMING_HEADER = ["", "p50", "p90", "p99", "mean", "min", "import", "load", "first slice", "peak MiB", "J / query"]


def result_text(result: BenchmarkResult) -> str:
    """Return a result as text; figures that cannot be trusted stand in brackets, with the reasons below."""
    blocks = [_head(result), _models(result.models)]
    blocks += [_measurement(measurement) for measurement in result.measurements]
    if result.accuracy is not None:
        blocks.append(_accuracy(result.accuracy))
    if result.measurements[0].timings[0].joules_per_query is None:
        blocks.append([f"no energy: {result.energy_source}"])
    lines = [line for block in blocks for line in [*block, ""]][:-1]
    return "\n".join(
        wrapped
        for line in map(printable, lines)
        for wrapped in ([line] if len(line) <= WIDTH else textwrap.wrap(line, WIDTH, subsequent_indent="  "))
    )


def _head(result: BenchmarkResult) -> list[str]:
    machine = result.machine
    libraries = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    streamed = f"the middle {STREAMED_SLICES} slices of " if result.scope == "slice" else ""
    return [
        f"one query: {SCOPES[result.scope]}; batch 1, one after another",
        f"input: {streamed}{result.input}",
        f"{machine.processor} ({machine.architecture}, {machine.cores} cores), {machine.system}, "
        f"governor {machine.governor or 'unknown'}; {' '.join(machine.flags) or 'flags unknown'}",
        libraries,
    ]


def _models(models: Sequence[Model]) -> list[str]:
    rows = [["", "file", "network", "precision", "MB", "MACs"]]
    for letter, model in zip(MODEL_LETTERS, models, strict=False):
        macs = "-" if model.macs is None else f"{model.macs / 1e6:,.1f} M"
        rows.append(
            [letter, _short(model.path), _short(model.name, 24), model.precision, f"{model.file_bytes / 1e6:.2f}", macs]
        )
    counters = dict.fromkeys(model.macs_counter for model in models)
    return [*in_columns(rows, left=4), *(f"MACs per image: {each}" for each in counters)]


def _measurement(measurement: Measurement) -> list[str]:
    ended = "all queries" if measurement.ended_by == "queries" else "time limit"
    queries = measurement.timings[0].latency.queries
    title = (
        f"{counted(measurement.threads, 'thread')}, {_engines(measurement.timings)}: "
        f"{queries} queries per model in {measurement.seconds:.1f} s ({ended})"
    )
    load = (
        f"load average {_number(measurement.load_average_before, 2)} before, "
        f"{_number(measurement.load_average_after, 2)} after; other processes kept "
        f"{_number(measurement.other_cores_busy, 2)} cores busy"
    )
    rows = [TIMING_HEADER]
    for letter, timing in zip(MODEL_LETTERS, measurement.timings, strict=False):
        rows.append([letter, *_figures(timing, trusted=measurement.trusted)])
    lines = [title, load, *in_columns(rows, left=1), "times in ms"]
    if measurement.comparison is not None:
        lines.append(_comparison(measurement.comparison, trusted=measurement.trusted))
    if not measurement.trusted:
        lines.append("NOT TRUSTED: the figures in brackets are not reliable, because")
        lines += [f"- {reason}" for reason in measurement.distrust_reasons]
    return lines


def _engines(timings: Sequence[Timing]) -> str:
    """Return the engine and its short version, or those of each model where they differ."""
    engines = [f"{timing.engine} {timing.engine_version.partition('-')[0]}" for timing in timings]
    if len(set(engines)) == 1:
        return engines[0]
    return ", ".join(f"{letter} in {engine}" for letter, engine in zip(MODEL_LETTERS, engines, strict=False))


def _figures(timing: Timing, *, trusted: bool) -> list[str]:
    latency, process = timing.latency, timing.fresh_process
    times_ms = [latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.mean_ms, latency.minimum_ms]
    starts_ms = [process.import_ms, process.load_ms, process.first_slice_ms]
    return [
        *(_bracketed(milliseconds(value), trusted=trusted) for value in times_ms),
        *(_bracketed(f"{value:.0f}", trusted=trusted) for value in starts_ms),
        f"{process.peak_memory_mib:.0f}",
        _bracketed(_number(timing.joules_per_query, 4), trusted=trusted),
    ]


def _comparison(comparison: PairedRatio, *, trusted: bool) -> str:
    ratio = f"{comparison.median:.3f}x (95 %: {comparison.low:.3f} to {comparison.high:.3f})"
    return (
        f"speed-up of B over A: {_bracketed(ratio, trusted=trusted)}; "
        f"B is faster in {comparison.wins} of {comparison.pairs} pairs"
    )


def _accuracy(accuracy: Accuracy) -> list[str]:
    lines = [f"Dice on {accuracy.cases} test cases of {accuracy.data}, protocol strict, {accuracy.engine}:"]
    for letter, dice in zip(MODEL_LETTERS, accuracy.dice, strict=False):
        interval = (
            "" if dice.interval is None else f" (95 % over patients: {dice.interval[0]:.3f} to {dice.interval[1]:.3f})"
        )
        lines.append(f"{letter}  {_number(dice.mean, 4)}{interval}")
    if accuracy.no_gate_because is not None:
        lines.append(f"no accuracy gate: {accuracy.no_gate_because}")
    elif accuracy.kept is not None:
        gates = [("99 %", accuracy.keeps_99_percent), ("99.9 %", accuracy.keeps_99_9_percent)]
        passed = ", ".join(f"gate of {part} {'passed' if kept else 'FAILED'}" for part, kept in gates)
        lines.append(f"B keeps {accuracy.kept:.2%} of A's Dice: {passed}")
    return [*lines, *accuracy.notes]


def _bracketed(figure: str, *, trusted: bool) -> str:
    return figure if trusted or figure == "-" else f"[{figure}]"


def milliseconds(value: float | None) -> str:
    """Write a time in ms with three or four digits; a dash for None."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _short(text: str, limit: int = 36) -> str:
    return text if len(text) <= limit else f"...{text[3 - limit :]}"
