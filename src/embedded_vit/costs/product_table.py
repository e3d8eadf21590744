"""A table of latencies for a network that is not made of blocks that we know: what each of its products takes.

Some groups of channels are narrowed at random, and the network measured in turns with the whole, a few times with other
groups. What was saved is divided among the convolutions and matrix products that have these channels, and the groups
themselves, for norms, activations and copies, which go with one width; where the measurements leave it open, half in
proportion to multiply-accumulates and half evenly. `ProductTable.milliseconds` then predicts any widths, and is
checked against networks that had no part in the fit.

Groups that are narrowed one at a time predict less: a network whose activations are all narrower fits a cache
that none of these fits (docs/log/channel-pruning.md).

Source: regularised least squares with non-negative unknowns, Lawson and Hanson, "Solving Least Squares Problems", 1974.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from embedded_vit.costs.latency import steady_latency_ms
from embedded_vit.costs.latency_table import Measure, TableCheck
from embedded_vit.engines import EngineName, open_graph
from embedded_vit.engines.single_stream import Query
from embedded_vit.models.channels import keep_channels
from embedded_vit.models.traced.groups import TracedChannels
from embedded_vit.models.traced.network import TracedNetwork

__all__ = ["ProductTable", "product_table"]

FITTED, CHECKED = 16, 4  # networks that are measured: for the fit, and to check it
DEVIATION = 0.02  # of the whole latency: how far a measurement may be from the sum
OF_PRODUCTS = 0.5  # of the latency that is expected before anything is measured; the rest is that of groups
ROUNDS, SECONDS_LIMIT = 40, 3.0  # of one network


@dataclass(frozen=True, eq=False)
class ProductTable:
    """What the parts of a traced network take in one engine on one machine.

    Attributes:
        channels: Of the whole network.
        part_ms: (products + groups,) what each convolution and matrix product takes in the whole network, and what goes
            with the width of each group alone.
        rest_ms: What no channel changes.
    """

    channels: TracedChannels
    part_ms: NDArray[np.float64]
    rest_ms: float

    def milliseconds(self, widths: Mapping[str, int]) -> float:
        """Return the latency of the network with other widths.

        Args:
            widths: Name of a group -> number of channels; groups that are left out keep theirs.
        """
        return self.rest_ms + float(self.part_ms @ _left(self.channels, widths))

    def plain(self) -> dict[str, Any]:
        """Return JSON values, from which `from_plain` makes the table again."""
        return {"part_ms": self.part_ms.tolist(), "rest_ms": self.rest_ms}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], network: TracedNetwork) -> Self:
        """Make a table from the values that `plain` returned, for the same whole network."""
        return cls(TracedChannels(network), np.array(values["part_ms"]), values["rest_ms"])


def product_table(
    network: TracedNetwork,
    narrowed: Mapping[str, int],
    graph_of: Callable[[TracedNetwork], bytes],
    image_bchw: NDArray[np.float32],
    engine: EngineName = "onnxruntime",
    *,
    threads: int = 1,
    measure: Measure | None = None,
) -> tuple[ProductTable, TableCheck]:
    """Measure what each group of channels costs in a network.

    Args:
        network: The network, whole.
        narrowed: Name of a group -> a smaller width, about half; groups that are left out cannot be narrowed.
        graph_of: Exports a network as a serialized ONNX model.
        image_bchw: An input of it.
        engine: The engine.
        threads: Threads to compute on.
        measure: Replaces the clock: queries -> (queries,) in milliseconds.

    Returns:
        The table, and the worst of its checks: the latency that it predicts for a network beside the measured one.
    """
    measure = measure or partial(steady_latency_ms, threads=threads, rounds=ROUNDS, seconds_limit=SECONDS_LIMIT)

    def opened(widths: Mapping[str, int]) -> Query:
        smaller = copy.deepcopy(network)
        if widths:
            keep_channels(smaller, {name: list(range(width)) for name, width in widths.items()})
        return partial(open_graph(graph_of(smaller), engine, threads=threads).run, image_bchw)

    def compared(widths: Mapping[str, int]) -> tuple[float, float]:
        smaller = opened(widths)
        # Twice each: the second time a network finds its weights in the processor's cache, whatever ran before.
        _, whole_ms, _, smaller_ms = map(float, measure([whole, whole, smaller, smaller]))
        return smaller_ms / whole_ms, whole_ms

    random = np.random.default_rng(0)
    chosen = [{name: narrowed[name] for name in narrowed if random.random() < 0.5} for _ in range(FITTED + CHECKED - 1)]
    chosen.insert(0, dict(narrowed))
    whole, channels = opened({}), TracedChannels(network)
    ratios, whole_ms = np.array([compared(widths) for widths in chosen]).T
    gone = np.array([1 - _left(channels, widths) for widths in chosen])
    shares = _fitted(gone[:FITTED], 1 - ratios[:FITTED], _expected(channels))
    typical_ms = float(np.median(whole_ms))
    table = ProductTable(channels, shares * typical_ms, max(0.0, 1 - float(shares.sum())) * typical_ms)
    checks = [
        TableCheck(table.milliseconds(widths), ratio * typical_ms)
        for widths, ratio in zip(chosen[FITTED:], ratios[FITTED:], strict=True)
    ]
    return table, max(checks, key=lambda check: abs(check.deviation))


def _left(channels: TracedChannels, widths: Mapping[str, int]) -> NDArray[np.float64]:
    """Return what is left of each product and of each group with other widths, (products + groups,), in [0, 1]."""
    groups = [widths.get(name, whole) / whole for name, whole in channels.widths.items()]
    return np.concatenate([channels.parts(widths), groups])


def _expected(channels: TracedChannels) -> NDArray[np.float64]:
    """Return which share of the latency each product and each group would have, if nothing were measured."""
    products = OF_PRODUCTS * channels.product_macs / channels.product_macs.sum()
    groups = np.full(len(channels.widths), (1 - OF_PRODUCTS) / len(channels.widths))
    return np.concatenate([products, groups])


def _fitted(
    gone: NDArray[np.float64], saved: NDArray[np.float64], expected: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return each part's share of the latency, (parts,).

    Args:
        gone: (measurements, parts) which fraction of each part is gone.
        saved: (measurements,) which fraction of the latency.
        expected: (parts,) the shares as far as nothing is measured; each may be off by as much as it is.
    """
    from scipy.optimize import nnls

    rows = np.concatenate([gone * expected / DEVIATION, np.eye(len(expected))])
    factors: NDArray[np.float64] = nnls(rows, np.concatenate([saved / DEVIATION, np.ones(len(expected))]))[0]
    return factors * expected
