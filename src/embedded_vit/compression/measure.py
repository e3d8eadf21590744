"""Measurements of one exported file, as `compression.json` holds them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn

from embedded_vit.artifact.manifest import read_artifact
from embedded_vit.compression.record import Measurements
from embedded_vit.costs.complexity import complexity
from embedded_vit.costs.footprint import footprint
from embedded_vit.costs.latency import paired_latency
from embedded_vit.engines import EngineChoice
from embedded_vit.evaluation.evaluating import evaluate
from embedded_vit.evaluation.protocol import ProtocolName
from embedded_vit.evaluation.scores import Scores
from embedded_vit.training.settings import RunConfig

__all__ = ["LATENCY_THREADS", "measure_artifact"]

LATENCY_THREADS = (1, 2)


def measure_artifact(
    artifact: Path,
    previous: Path | None,
    network: nn.Module,
    config: RunConfig,
    data_folder: Path,
    output: Path,
    *,
    subsets: Sequence[Literal["validation", "train", "test"]] = ("validation", "test"),
    protocol: ProtocolName = "strict",
    threads: int = 1,
    engine: EngineChoice = "onnxruntime",
    repeats: int = 30,
    bars: bool = True,
) -> Measurements:
    """Score an exported file and measure what it costs.

    Args:
        artifact: The file.
        previous: The file before the step, whose latency is measured in turns with this one's; None for the first.
        network: What was exported, for its parameters.
        config: Of that network, for its MACs.
        data_folder: The data set.
        output: Where the evaluation of each subset goes, in a folder of its own that replaces an older one.
        subsets: The subsets to score; those without cases in the artifact's split are skipped.
        protocol: The protocol of the evaluation.
        threads: Threads of the evaluation; latency is measured on 1 and on 2.
        engine: The engine that latency and memory are measured in.
        repeats: How often latency is measured.
        bars: Whether the evaluation shows progress bars.

    Raises:
        FileFormatError: The file is not an artifact.
        DataSetError: The data set does not fit the artifact, or lacks its cases.
    """
    _, manifest = read_artifact(artifact)
    scores = {
        subset: _scores(artifact, data_folder, output / subset, subset, protocol, threads, bars=bars)
        for subset in subsets
        if manifest.split[subset]
    }
    latency_ms, previous_latency_ms = _latency_ms(artifact, previous, engine, repeats)
    sizes = footprint(artifact, engine=engine)
    parameters = list(network.parameters())
    return Measurements(
        validation=scores.get("validation"),
        train=scores.get("train"),
        test=scores.get("test"),
        macs=complexity(config.network, input_channels=config.preprocessing.input_channels).macs,
        parameters=sum(parameter.numel() for parameter in parameters),
        nonzero_parameters=sum(int(parameter.count_nonzero()) for parameter in parameters),
        file_bytes=sizes.file_bytes,
        deflated_bytes=sizes.deflated_bytes,
        latency_ms=latency_ms,
        previous_latency_ms=previous_latency_ms,
        peak_memory_mib=sizes.peak_memory_mib,
    )


def _scores(
    artifact: Path,
    data_folder: Path,
    output: Path,
    subset: Literal["validation", "train", "test"],
    protocol: ProtocolName,
    threads: int,
    *,
    bars: bool,
) -> Scores:
    """Score one subset into a folder, in place of what a killed measurement or another attempt left there."""
    shutil.rmtree(output, ignore_errors=True)
    options: dict[str, Any] = {"subset": subset, "protocol": protocol, "threads": threads, "bars": bars}
    return Scores.of(evaluate(artifact, data_folder, output=output, **options))


def _latency_ms(
    artifact: Path, previous: Path | None, engine: EngineChoice, repeats: int
) -> tuple[dict[str, float], dict[str, float] | None]:
    """Measure threads -> median in milliseconds, of the artifact and of the file before it."""
    paths = [artifact] if previous is None else [artifact, previous]
    medians = {
        str(threads): [
            latency.p50_ms for latency in paired_latency(paths, engine=engine, threads=threads, repeats=repeats)
        ]
        for threads in LATENCY_THREADS
    }
    latency_ms = {threads: of_both[0] for threads, of_both in medians.items()}
    if previous is None:
        return latency_ms, None
    return latency_ms, {threads: of_both[1] for threads, of_both in medians.items()}
