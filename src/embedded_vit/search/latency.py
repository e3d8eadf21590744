"""Latency of a candidate's exported graph, measured in turns with a fixed reference network.

Whatever slows the whole processor, such as heat or a neighbour on the same memory, slows both networks alike. So the
ratio of the two stays the same, and it carries over to another machine. A candidate's latency is its ratio times the
reference's latency when the search began. The reference network is a fast one, because a short run is seldom
interrupted where processes share a core.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from embedded_vit.costs.machine_state import load_average
from embedded_vit.costs.noise import busy_reasons
from embedded_vit.engines import EngineChoice, EngineName, example_image, fastest_for_graph, open_graph
from embedded_vit.engines.single_stream import Query, single_stream
from embedded_vit.export.exporting import onnx_graph
from embedded_vit.models.registry import build_network
from embedded_vit.provenance import available_cores
from embedded_vit.training.settings import RunConfig

__all__ = ["REFERENCE", "LatencyMeter", "MeasuredLatency", "busy_now"]

REFERENCE = "embedded-vit-64"
ROUNDS, SECONDS_LIMIT = 200, 15.0


@dataclass(frozen=True)
class MeasuredLatency:
    """Median latencies of one image.

    Attributes:
        candidate_ms, reference_ms: At the time of this measurement.
        ratio: The median of candidate over reference, over all pairs.
    """

    candidate_ms: float
    reference_ms: float
    ratio: float


class LatencyMeter:
    """Measures the latency of networks in one engine, on a fixed number of threads.

    Args:
        reference: The reference network's configuration.
        engine: The engine; "auto" takes the one that is fastest for the reference network.
        threads: Threads to compute on.

    Attributes:
        engine: The engine that measures.
    """

    def __init__(self, reference: RunConfig, engine: EngineChoice, *, threads: int) -> None:
        self._threads = threads
        graph = _graph(reference)
        if engine == "auto":
            engine = fastest_for_graph(graph, reference.preprocessing, threads=threads).engine
        self.engine: EngineName = engine
        self._reference = self._query(reference, graph)

    def reference_ms(self) -> float:
        """Measure the reference's own latency."""
        stream = single_stream([self._reference], rounds=ROUNDS, seconds_limit=SECONDS_LIMIT)
        return float(np.median(stream.latencies_ms))

    def measure(self, config: RunConfig) -> MeasuredLatency:
        """Export a network with random weights, and measure it in turns with the reference.

        Raises:
            NetworkError: The network uses an operation that ONNX does not have.
            FileFormatError: The engine cannot run it.
        """
        queries = [self._query(config, _graph(config)), self._reference]
        latencies_ms = single_stream(queries, rounds=ROUNDS, seconds_limit=SECONDS_LIMIT).latencies_ms
        candidate_ms, reference_ms = np.median(latencies_ms, axis=0)
        return MeasuredLatency(
            candidate_ms=float(candidate_ms),
            reference_ms=float(reference_ms),
            ratio=float(np.median(latencies_ms[:, 0] / latencies_ms[:, 1])),
        )

    def _query(self, config: RunConfig, graph: bytes) -> Query:
        engine = open_graph(graph, self.engine, threads=self._threads, source=config.network.name)
        return partial(engine.run, example_image(config.preprocessing))


def _graph(config: RunConfig) -> bytes:
    """Export a network with random weights, which cost the same as trained ones."""
    torch.manual_seed(config.training.seed)
    return onnx_graph(build_network(config.network).eval(), config.preprocessing)


def busy_now(threads: int) -> list[str]:
    """Return why latencies would be too long now because the machine is busy, one sentence each."""
    return busy_reasons(threads=threads, cores=available_cores(), load_before=load_average(), other_cores_busy=None)
