"""The plot beside a benchmark: the share of queries that was answered within a time."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from embedded_vit.benchmark.result import MODEL_LETTERS, BenchmarkResult, Measurement
from embedded_vit.benchmark.result_table import milliseconds
from embedded_vit.counted import counted
from embedded_vit.io.atomic import atomic_path
from embedded_vit.printable import printable

__all__ = ["latency_figure", "save_latency_plot"]

COLOURS = ("#1b6ca8", "#d1495b")
PERCENTILES = (50, 90, 99)
PANEL_WIDTH, PANEL_HEIGHT = 5.6, 4.2  # inches
BEYOND_P99 = 1.25  # where the time axis ends; the legend counts later queries
DOTS_PER_INCH = 120
REASON_CHARACTERS, LINE_HEIGHT = 85, 0.14  # length of a line of reasons; its height in inches
ALARM = "#b00020"


def save_latency_plot(result: BenchmarkResult, path: Path, *, overwrite: bool = False) -> None:
    """Write the plot as a PNG file.

    Raises:
        OutputError: The file exists, or cannot be written.
    """
    with atomic_path(path, overwrite=overwrite) as temporary:
        latency_figure(result).savefig(temporary, dpi=DOTS_PER_INCH)


def latency_figure(result: BenchmarkResult) -> Figure:
    """Draw one panel for each number of threads; all share one time axis that starts at 0."""
    panels = len(result.measurements)
    reason_lines = max(len(_wrapped(measurement)) for measurement in result.measurements)
    height = PANEL_HEIGHT + LINE_HEIGHT * reason_lines
    figure = Figure(figsize=(max(7.0, PANEL_WIDTH * panels), height), layout="constrained")
    axes = figure.subplots(1, panels, sharex=True, sharey=True, squeeze=False)[0]
    longest_ms = BEYOND_P99 * max(
        float(np.percentile(timing.latency.samples_ms, 99))
        for measurement in result.measurements
        for timing in measurement.timings
    )
    for panel, measurement in zip(axes, result.measurements, strict=True):
        _draw(panel, result, measurement, longest_ms)
    axes[0].set_ylabel("queries answered, %")
    figure.suptitle(f"Latency of one {result.scope}, batch 1, on {result.machine.processor}", fontsize=11)
    return figure


def _draw(panel: Axes, result: BenchmarkResult, measurement: Measurement, longest_ms: float) -> None:
    for percentile in PERCENTILES:
        panel.axhline(percentile, color="0.85", linewidth=0.8, zorder=0)
    for letter, colour, model, timing in zip(MODEL_LETTERS, COLOURS, result.models, measurement.timings, strict=False):
        latencies_ms = np.sort(timing.latency.samples_ms)
        answered = 100 * np.arange(1, len(latencies_ms) + 1) / len(latencies_ms)
        hidden = int((latencies_ms > longest_ms).sum())
        what = f"{letter}  {printable(model.name)}, {model.precision}, {timing.engine}"
        label = f"{what}: p50 {milliseconds(timing.latency.p50_ms)} ms"
        if hidden:
            label += f"\n    {hidden} beyond the axis, the slowest {milliseconds(latencies_ms[-1])} ms"
        panel.step(
            [0, *latencies_ms, longest_ms], [0, *answered, answered[-1]], where="post", color=colour, label=label
        )
    panel.set_xlim(0, longest_ms)
    panel.set_ylim(0, 102)
    panel.set_yticks([0, 25, *PERCENTILES], labels=["0", "25", "p50", "p90", "p99"])
    panel.set_xlabel("milliseconds")
    threads = counted(measurement.threads, "thread")
    if measurement.trusted:
        panel.set_title(threads, fontsize=10)
    else:
        lines = [f"{threads}: NOT TRUSTED", *_wrapped(measurement)]
        panel.set_title("\n".join(lines), fontsize=8, color=ALARM, loc="left")
    legend = panel.legend(loc="upper left", bbox_to_anchor=(0, -0.14), fontsize=8, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name may hold a dollar
    panel.spines[["top", "right"]].set_visible(False)


def _wrapped(measurement: Measurement) -> list[str]:
    """Return the reasons for distrust, in lines that fit a panel."""
    return [
        line
        for reason in measurement.distrust_reasons
        for line in textwrap.wrap(f"- {reason}", REASON_CHARACTERS, subsequent_indent="  ")
    ]
