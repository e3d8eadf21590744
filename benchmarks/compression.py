"""Compress trained runs and print what every step costs and gains: the tables of docs/log/channel-pruning.md.

    python benchmarks/compression.py --data DATA RUN [RUN ...] --plans PLAN [...] --output FOLDER

A PLAN is the name of a built-in compression plan or a YAML file. The result goes into FOLDER/RUN-PLAN; an interrupted
compression is resumed, a finished one is read. Losses of Dice are relative to the run before compression, on its test
cases, strict protocol, from the exported files: the loss of the mean, and in brackets that of each patient. Latency is
measured in ONNX Runtime, in turns with the file before all steps; the ratio of the two follows it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from footnote import footnote

from embedded_vit.compression.compressing import compress
from embedded_vit.compression.measure import LATENCY_THREADS
from embedded_vit.compression.plan import read_plan
from embedded_vit.compression.record import (
    CompressionRecord,
    Measurements,
    StageRecord,
    read_compression_record,
    summary_line,
)
from embedded_vit.costs.latency import paired_latency
from embedded_vit.errors import EmbeddedVitError, GateError

HEADER = (
    "result", "step", "Dice [95 %]", "loss, points (patients)", "worst organ's loss", "MACs", "weights not zero",
    "file", "zipped", "p50, 1 and 2 threads", "minutes",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--plans", type=Path, nargs="+", required=True, metavar="PLAN")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="where the compressed runs go")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    lines: list[str] = []
    for run in arguments.runs:
        for plan in arguments.plans:
            output = arguments.output / f"{run.name}-{plan.stem}"
            lines += rows(compressed(run, plan, output, arguments.data, arguments.threads), output)
    print(footnote())
    print(f"| {' | '.join(HEADER)} |")
    print("|" + "---|" * len(HEADER))
    print("\n".join(lines))


def compressed(run: Path, plan: Path, output: Path, data: Path, threads: int | None) -> CompressionRecord:
    """Compress a run unless it is compressed already; a plan that stops at the gate is a result too."""
    try:
        return compress(
            run,
            read_plan(plan),
            output,
            data_folder=data,
            resume=output.exists(),
            threads=threads,
            on_stage=lambda stage: print(summary_line(stage), file=sys.stderr, flush=True),
        )
    except GateError as error:
        print(error, file=sys.stderr)
        return read_compression_record(output)


def rows(record: CompressionRecord, output: Path) -> list[str]:
    """Return a row for the run before compression, and one for each step."""
    before, *steps = record.stages
    lines = [row(output, stage, before) for stage in (before, *steps)]
    if record.gate_failed:
        lines.append(f"| {output.name} | {record.gate_failed} |" + " |" * (len(HEADER) - 2))
    return lines


def row(output: Path, stage: StageRecord, before: StageRecord) -> str:
    """Return the row of a step, in the order of `HEADER`."""
    now, then = stage.measured, before.measured
    settings = ", ".join(f"{name} {value}" for name, value in stage.settings.items())
    cells = (
        output.name,
        f"{stage.name}: {settings}" if settings else stage.name,
        score(now),
        loss(now, then),
        worst_organ(now, then),
        f"{now.macs / 1e6:.1f} M, {now.macs / then.macs:.2f}",
        f"{now.nonzero_parameters / now.parameters:.0%} of {now.parameters / 1e6:.2f} M",
        f"{now.file_bytes / 1e6:.2f} MB, {now.file_bytes / then.file_bytes:.3f}",
        f"{now.deflated_bytes / 1e6:.2f} MB, {now.deflated_bytes / then.deflated_bytes:.3f}",
        latency(output / stage.artifact, output / before.artifact),
        f"{stage.seconds / 60:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def score(measured: Measurements) -> str:
    """Return the test Dice with its bootstrap interval."""
    if measured.test is None or measured.test.dice is None:
        return "–"
    low, high = measured.test.dice_interval or (float("nan"), float("nan"))
    return f"{measured.test.dice:.3f} [{low:.3f}, {high:.3f}]"


def loss(now: Measurements, then: Measurements) -> str:
    """Return the loss of test Dice in points: of the mean, and of every patient."""
    if now.test is None or then.test is None or now.test.dice is None or then.test.dice is None:
        return "–"
    patients = [
        f"{100 * (whole - (now.test.by_case.get(name) or 0)):.2f}"
        for name, whole in then.test.by_case.items()
        if whole is not None
    ]
    return f"{100 * (then.test.dice - now.test.dice):.2f} ({', '.join(patients)})"


def worst_organ(now: Measurements, then: Measurements) -> str:
    """Return the organ that loses most test Dice, and its loss in points."""
    if now.test is None or then.test is None:
        return "–"
    points = {
        name: 100 * (whole - (now.test.organs.get(name) or 0))
        for name, whole in then.test.organs.items()
        if whole is not None
    }
    worst = max(points, key=lambda name: points[name])
    return f"{worst} {points[worst]:.1f}"


def latency(artifact: Path, whole: Path) -> str:
    """Return the latency and its ratio to that of the file before all steps, measured in turns."""
    texts = []
    for threads in LATENCY_THREADS:
        now, then = paired_latency([artifact, whole], threads=threads, repeats=100)
        texts.append(f"{now.p50_ms:.2f} ms {now.p50_ms / then.p50_ms:.2f}")
    return "; ".join(texts)


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"compression.py: {error}")
