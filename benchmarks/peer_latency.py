"""The costs of networks: milliseconds of one image in turns, MACs by one counter, bytes of the file.

On one thread the time that the process computes is the time of an image, whatever else the machine does. Its 10th
percentile leaves out the moments in which another program took the processor's caches.

Every run of it measures the plain U-Net of width 16 at 64 pixels too: latency is given in units of that network's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from footnote import footnote
from numpy.typing import NDArray
from peer_cells import ARTIFACT, Cell
from peer_training import PeerTraining

from embedded_vit.artifact.manifest import read_artifact
from embedded_vit.config import Config
from embedded_vit.costs.graph_macs import count_macs
from embedded_vit.costs.latency import UNINTERRUPTED_PERCENTILE
from embedded_vit.costs.machine_state import CoreTimes, load_average
from embedded_vit.costs.noise import MAXIMUM_SPREAD, busy_reasons
from embedded_vit.engines import EngineName, engine_entry, example_image, installed_engines, open_graph
from embedded_vit.engines.single_stream import single_stream
from embedded_vit.errors import ConfigError, FileFormatError
from embedded_vit.export.exporting import onnx_graph
from embedded_vit.io.json_file import read_json_object
from embedded_vit.models.registry import build_network, network_config
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.provenance import available_cores

__all__ = [
    "COSTS",
    "YARDSTICK",
    "Costs",
    "MeasuredGraph",
    "NetworkCosts",
    "measure_costs",
    "read_costs",
    "trained_graphs",
    "untrained_graph",
    "watched",
]

YARDSTICK = "unet-16@64"
ENGINES: tuple[EngineName, ...] = ("onnxruntime", "openvino")
THREADS = 1
SECONDS_LIMIT = 120.0  # for each engine
COSTS = "costs.json"

Result = TypeVar("Result")


class NetworkCosts(Config):
    """The costs of one network; an engine that cannot run it is not in `latency_ms`.

    Attributes:
        macs: Of one image, counted in the exported graph.
        file_bytes: Of that graph.
        latency_ms: Engine's title -> processor time of one image, 10th percentile of the rounds.
        units: Engine's title -> that over the yardstick's.
    """

    macs: int
    file_bytes: int
    latency_ms: dict[str, float]
    units: dict[str, float]

    def giga_macs_a_second(self, engine: str) -> float:
        """Return how many billions of multiply-accumulates an engine does in a second."""
        return self.macs / self.latency_ms[engine] / 1e6


class Costs(Config):
    """Of all networks of a comparison, measured in one run."""

    machine: str
    created: str
    rounds: int
    doubts: tuple[str, ...]
    networks: dict[str, NetworkCosts]


@dataclass(frozen=True)
class MeasuredGraph:
    """A serialized ONNX model, and the image that it is timed on."""

    content: bytes
    image: NDArray[np.float32]


def untrained_graph(
    peer: PeerTraining, *, channels: tuple[str, ...], classes: int, context_slices: int
) -> MeasuredGraph:
    """Export a network with random weights, which takes the time of a trained one.

    Args:
        peer: The network.
        channels: Of the scan.
        classes: K, background included.
        context_slices: 1 or 3.

    Raises:
        NetworkError, ConfigError: There is no such network, or it cannot be exported.
    """
    inputs = len(channels) * context_slices
    own_class = "model" in peer.architecture
    described = network_config(
        peer.preset, classes=classes, in_channels=inputs if own_class or inputs > 1 else 3, **peer.architecture
    )
    preprocessing = Preprocessing.for_modality(
        "CT",
        channels=channels,
        image_size=peer.image_size,
        output_stride=described.output_stride,
        context_slices=context_slices,
    )
    torch.manual_seed(0)
    graph = onnx_graph(build_network(described).eval(), preprocessing)
    return MeasuredGraph(graph, example_image(preprocessing))


def trained_graphs(cells: Mapping[Path, Cell]) -> dict[str, MeasuredGraph]:
    """Read network at its size -> the model file of its first cell."""
    found: dict[str, MeasuredGraph] = {}
    for run, cell in cells.items():
        if cell.network not in found:
            content, manifest = read_artifact(run / ARTIFACT)
            found[cell.network] = MeasuredGraph(content, example_image(manifest.preprocessing))
    return found


def measure_costs(graphs: Mapping[str, MeasuredGraph], *, rounds: int) -> Costs:
    """Measure all networks in turns, on one thread, in ONNX Runtime and in OpenVINO where that is installed.

    Args:
        graphs: Name -> network, the yardstick among them.
        rounds: Of each engine.
    """
    latency_ms: dict[str, dict[str, float]] = {name: {} for name in graphs}
    units: dict[str, dict[str, float]] = {name: {} for name in graphs}
    doubts: list[str] = []
    for engine in ENGINES:
        if engine in installed_engines():
            title = engine_entry(engine).title
            print(f"latency: {title}, {len(graphs)} networks in turns", file=sys.stderr, flush=True)
            in_turns, reasons = _in_turns(graphs, engine, rounds)
            doubts += [f"Latency in {title} is not reliable: {reason}" for reason in reasons]
            for name, samples_ms in in_turns.items():
                latency_ms[name][title] = steady_ms(samples_ms)
                if YARDSTICK in in_turns:
                    units[name][title] = latency_ms[name][title] / steady_ms(in_turns[YARDSTICK])
    return Costs(
        machine=footnote(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        rounds=rounds,
        doubts=tuple(doubts),
        networks={
            name: NetworkCosts(
                macs=count_macs(graph.content, source=name),
                file_bytes=len(graph.content),
                latency_ms=latency_ms[name],
                units=units[name],
            )
            for name, graph in graphs.items()
        },
    )


def _in_turns(
    graphs: Mapping[str, MeasuredGraph], engine: EngineName, rounds: int
) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """Return name -> milliseconds of every round, and why the figures cannot be trusted."""
    queries: dict[str, Callable[[], object]] = {}
    failures = []
    for name, graph in graphs.items():
        try:
            opened = open_graph(graph.content, engine, threads=THREADS, source=name)
        except FileFormatError as error:
            failures.append(str(error))
            continue
        queries[name] = lambda opened=opened, image=graph.image: opened.run(image)  # type: ignore[misc]
    stream, reasons = watched(
        THREADS,
        lambda: single_stream(
            list(queries.values()), rounds=rounds, seconds_limit=SECONDS_LIMIT, processor_time=THREADS == 1
        ),
    )
    samples_ms = dict(zip(queries, stream.latencies_ms.T, strict=True))
    spread = {name: float(np.percentile(samples, 90) / np.median(samples)) for name, samples in samples_ms.items()}
    unsteady = [name for name, ratio in spread.items() if ratio > MAXIMUM_SPREAD]
    if unsteady:
        reasons.append(f"p90 is over {MAXIMUM_SPREAD} times p50 of {', '.join(unsteady)}")
    return samples_ms, failures + reasons


def steady_ms(samples_ms: NDArray[np.float64]) -> float:
    """Return the latency without the moments in which the machine was disturbed."""
    return float(np.percentile(samples_ms, UNINTERRUPTED_PERCENTILE))


def watched(threads: int, measure: Callable[[], Result]) -> tuple[Result, list[str]]:
    """Measure something, and say what else the machine did meanwhile.

    Args:
        threads: That it computes on.
        measure: What to do.

    Returns:
        Its result, and reasons to doubt it.
    """
    load_before, begin = load_average(), CoreTimes.now()
    result = measure()
    end = CoreTimes.now()
    return result, busy_reasons(
        threads=threads,
        cores=available_cores(),
        load_before=load_before,
        other_cores_busy=None if begin is None or end is None else begin.other_cores_busy(end),
    )


def read_costs(output: Path) -> Costs:
    """Read the costs that were measured last.

    Raises:
        ConfigError: There are none.
    """
    path = output / COSTS
    return Costs.parse(read_json_object(path, ConfigError, hint="run peers.py without --cells-only"), source=str(path))
