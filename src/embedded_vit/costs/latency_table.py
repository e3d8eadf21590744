"""A table of latencies by fused block and width: what a narrower network would cost, without exporting it.

A figure is the latency of one more copy of a block: two small graphs that differ in the number of copies are measured
in turns with a reference graph, and what slows the machine slows all three (`steady_latency_ms`). A network's latency
is the sum of its blocks'; `check_table` compares the sum with the whole network.

Engines compute channels in blocks of 8 or 16, so only whole blocks are measured: one, two, four, ..., and the full
width. Figures between two of them are interpolated, and a width counts as the whole blocks that it fills.

Source: Shen et al., "Structural Pruning via Latency-Saliency Knapsack", 2210.06659, for the table; Zhang et al.,
"nn-Meter", MobiSys 2021, for operators that are fused before they are measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from embedded_vit.costs.block_graphs import block_graph, input_shape
from embedded_vit.costs.latency import steady_latency_ms
from embedded_vit.engines import EngineName, engine_entry, open_graph
from embedded_vit.engines.single_stream import Query
from embedded_vit.io.cache import recall, remember
from embedded_vit.layers.fused_block import FusedBlock
from embedded_vit.provenance import processor_flags, processor_name

__all__ = ["MOST_DEVIATION", "LatencyTable", "TableCheck", "channel_block", "check_table", "latency_table"]

MEASURED = "block-latency-3"  # the file of the cache; another name where the measurement changes
MOST_DEVIATION = 0.10  # of the sum from the whole network
FEW = 1  # copies of a block in the shorter of the two graphs whose difference it is
LEAST_COPIES, MOST_COPIES = 3, 16  # more in the longer one
MACS_THAT_SHOW = 12_000_000  # of the copies that the longer graph has more: a third of a millisecond
REFERENCE, REFERENCE_COPIES = FusedBlock("pair", (32, 32), 32, (1, 1)), 2
ROUNDS, SECONDS_LIMIT = 40, 3.0  # of one entry
WHOLE_ROUNDS, WHOLE_SECONDS_LIMIT = 200, 20.0

# Measures queries in turns: (queries,) in milliseconds.
Measure = Callable[[Sequence[Query]], NDArray[np.float64]]


def channel_block() -> int:
    """Return how many channels the engines compute at a time on this processor: 16 with AVX-512, else 8."""
    return 16 if "avx512f" in processor_flags() else 8


@dataclass(frozen=True)
class LatencyTable:
    """What fused blocks cost in one engine, on one number of threads of one machine.

    Attributes:
        engine, threads: What was measured.
        channel_block: Channels that the engine computes at a time.
        reference_ms: Latency of the reference graph when the table was measured.
        relative: Block -> latency of a copy of it over that of the reference graph.
    """

    engine: EngineName
    threads: int
    channel_block: int
    reference_ms: float
    relative: Mapping[FusedBlock, float]

    def milliseconds(self, blocks: Iterable[FusedBlock]) -> float:
        """Return the latency of a network: the sum of its blocks'.

        Raises:
            KeyError: No block of this kind and size was measured.
        """
        return sum(map(self.block_ms, blocks))

    def block_ms(self, block: FusedBlock) -> float:
        """Return the latency of a block, interpolated between the measured widths; raises as `milliseconds`."""
        measured = self._measured_widths[replace(block, widths=())]
        sides = [
            _neighbours(known, _filled(width, self.channel_block, unit))
            for known, width, unit in zip(measured, block.widths, block.units, strict=True)
        ]
        relative = sum(
            math.prod(share for _, share in corner)
            * self.relative[replace(block, widths=tuple(width for width, _ in corner))]
            for corner in product(*sides)
        )
        return self.reference_ms * relative

    def plain(self) -> dict[str, Any]:
        """Return JSON values, from which `from_plain` makes the table again."""
        relative = {str(block): value for block, value in self.relative.items()}
        return {
            "engine": self.engine,
            "threads": self.threads,
            "channel_block": self.channel_block,
            "reference_ms": self.reference_ms,
            "relative": relative,
        }

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], blocks: Sequence[FusedBlock]) -> Self:
        """Make a table from the values that `plain` returned, for the network with these blocks.

        Raises:
            KeyError: It is another network's.
        """
        entries = _entries(blocks, values["channel_block"])
        return cls(**{**values, "relative": {block: values["relative"][str(block)] for block in entries}})

    @cached_property
    def _measured_widths(self) -> dict[FusedBlock, list[list[int]]]:
        """Block without widths -> the measured widths, in order, for each of its widths."""
        found: dict[FusedBlock, list[set[int]]] = {}
        for block in self.relative:
            known = found.setdefault(replace(block, widths=()), [set() for _ in block.widths])
            for widths, width in zip(known, block.widths, strict=True):
                widths.add(width)
        return {kind: [sorted(widths) for widths in known] for kind, known in found.items()}


def latency_table(
    blocks: Sequence[FusedBlock],
    engine: EngineName = "onnxruntime",
    *,
    threads: int = 1,
    multiple: int | None = None,
    anew: bool = False,
    measure: Measure | None = None,
    on_entry: Callable[[FusedBlock, float], None] = lambda block, relative: None,
) -> LatencyTable:
    """Measure what the blocks of a network cost at their widths and at all narrower ones, or read it from the cache.

    Args:
        blocks: The network's, see `LayeredNetwork.fused_blocks`.
        engine: The engine.
        threads: Threads to compute on.
        multiple: Channels that the engine computes at a time; by default those of this processor.
        anew: Measure what the cache holds again.
        measure: Replaces the clock, and the cache is left alone.
        on_entry: Called with each block that was measured, and its latency over the reference's.
    """
    multiple = multiple or channel_block()
    cached = measure is None
    key = f"{engine} {engine_entry(engine).version} {processor_name()} {' '.join(processor_flags())} {threads} threads"
    stored = recall(MEASURED, key) if cached and not anew else None
    known: dict[str, list[float]] = stored if isinstance(stored, dict) else {}
    open_block = partial(_query, engine=engine, threads=threads)
    measure = measure or partial(steady_latency_ms, threads=threads, rounds=ROUNDS, seconds_limit=SECONDS_LIMIT)
    reference = open_block(REFERENCE, REFERENCE_COPIES)
    wanted = _entries(blocks, multiple)
    for block in wanted:
        if str(block) not in known:
            known[str(block)] = _measured(block, open_block, reference, measure)
            on_entry(block, known[str(block)][0])
            if cached:  # a long measurement that is interrupted goes on where it was
                remember(MEASURED, key, known)
    reference_ms = float(np.median([known[str(block)][1] for block in wanted]))
    return LatencyTable(
        engine, threads, multiple, reference_ms, {block: max(0.0, known[str(block)][0]) for block in wanted}
    )


@dataclass(frozen=True)
class TableCheck:
    """A table's sum beside the whole network, measured in turns with the reference graph.

    Attributes:
        sum_ms: The table's sum, at the speed of the machine when the whole network was measured.
        whole_ms: The whole network's latency.
    """

    sum_ms: float
    whole_ms: float

    @property
    def deviation(self) -> float:
        """The sum over the whole network, less 1."""
        return self.sum_ms / self.whole_ms - 1

    @property
    def holds(self) -> bool:
        """Whether the sum may choose."""
        return abs(self.deviation) <= MOST_DEVIATION

    def __str__(self) -> str:
        return (
            f"the sum of the fused blocks is {self.sum_ms:.2f} ms, the whole network {self.whole_ms:.2f} ms "
            f"({self.deviation:+.1%}, at most {MOST_DEVIATION:.0%} either way)"
        )


def check_table(
    table: LatencyTable,
    blocks: Sequence[FusedBlock],
    graph: bytes,
    image_bchw: NDArray[np.float32],
    *,
    measure: Measure | None = None,
) -> TableCheck:
    """Compare the sum of a network's blocks with the network as it is exported.

    Args:
        table: A table with the network's blocks.
        blocks: The network's, see `LayeredNetwork.fused_blocks`.
        graph: The network as a serialized ONNX model.
        image_bchw: An input of it.
        measure: Replaces the clock.
    """
    measure = measure or partial(
        steady_latency_ms, threads=table.threads, rounds=WHOLE_ROUNDS, seconds_limit=WHOLE_SECONDS_LIMIT
    )
    whole = partial(open_graph(graph, table.engine, threads=table.threads).run, image_bchw)
    reference = _query(REFERENCE, REFERENCE_COPIES, engine=table.engine, threads=table.threads)
    whole_ms, _, reference_ms = map(float, measure([whole, reference, reference]))
    return TableCheck(table.milliseconds(blocks) * reference_ms / table.reference_ms, whole_ms)


def _entries(blocks: Sequence[FusedBlock], multiple: int) -> list[FusedBlock]:
    """Return the blocks to measure: every kind and size of block at all combinations of some widths, up to the full."""
    full: dict[FusedBlock, list[int]] = {}
    for block in blocks:
        widths = [_filled(width, multiple, unit) for width, unit in zip(block.widths, block.units, strict=True)]
        known = full.setdefault(replace(block, widths=()), widths)
        full[replace(block, widths=())] = [max(pair) for pair in zip(known, widths, strict=True)]
    return [
        replace(kind, widths=combination)
        for kind, widths in full.items()
        for combination in product(
            *(_steps(width, math.lcm(multiple, unit)) for width, unit in zip(widths, kind.units, strict=True))
        )
    ]


def _steps(width: int, least: int) -> list[int]:
    """Return one block of channels, two, four, ..., and the full width."""
    doublings = range(max(0, (width - 1) // least).bit_length())
    return [*(least * 2**doubling for doubling in doublings), width]


def _filled(width: int, multiple: int, unit: int) -> int:
    """Return the channels that are computed for a width: whole blocks, but no part of a head."""
    return width if unit > 1 else -(-width // multiple) * multiple


def _neighbours(known: Sequence[int], width: int) -> list[tuple[int, float]]:
    """Return the one or two measured widths around a width, with their shares in it; beyond the ends, the end."""
    for lower, upper in pairwise(known):
        if lower < width < upper:
            share = (width - lower) / (upper - lower)
            return [(lower, 1 - share), (upper, share)]
    return [(min(known, key=lambda each: abs(each - width)), 1.0)]


def _measured(
    block: FusedBlock, open_block: Callable[[FusedBlock, int], Query], reference: Query, measure: Measure
) -> list[float]:
    """Return the latency of one more copy of a block over the reference's, and the reference's in milliseconds.

    Each graph is called twice and counts the second time, when it finds its weights in the processor's cache whatever
    ran before. A frame stands only once in a network, with the call and the copying of its input and output, so it is
    one copy.
    """
    many = _copies(block)
    graphs = [open_block(block, FEW)] if block.kind == "frame" else [open_block(block, FEW), open_block(block, many)]
    twice = [query for graph in (*graphs, reference) for query in (graph, graph)]
    few_ms, *many_ms, reference_ms = map(float, measure(twice)[1::2])
    one_ms = (many_ms[0] - few_ms) / (many - FEW) if many_ms else few_ms
    return [one_ms / reference_ms, reference_ms]


def _copies(block: FusedBlock) -> int:
    """Return the copies in the longer graph: more of a small block, whose latency would drown in the noise."""
    macs = {
        "pair": 18 * math.prod(block.widths) * block.side**2,
        "level": 10 * math.prod(block.widths) * block.side**2 // 4,
        "attention": 4 * math.prod(block.widths) * block.side**2 + 2 * block.widths[-1] * block.side**4,
        "perceptron": 2 * math.prod(block.widths) * block.side**2,
    }.get(block.kind, MACS_THAT_SHOW)
    return FEW + min(MOST_COPIES, max(LEAST_COPIES, math.ceil(MACS_THAT_SHOW / macs)))


def _query(block: FusedBlock, copies: int, *, engine: EngineName, threads: int) -> Query:
    opened = open_graph(block_graph(block, copies), engine, threads=threads, source=str(block))
    image = np.random.default_rng(0).uniform(-1, 1, input_shape(block)).astype(np.float32)
    return partial(opened.run, image)
