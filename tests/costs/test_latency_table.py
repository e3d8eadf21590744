"""The table of latencies: its blocks are the whole network, its widths whole blocks, its sum checked. No test is timed.

One smoke test measures, and looks only at whether there are numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from embedded_vit.costs import latency_table as module
from embedded_vit.costs.block_graphs import block_graph, input_shape
from embedded_vit.costs.graph_macs import count_macs
from embedded_vit.costs.latency import steady_latency_ms
from embedded_vit.costs.latency_table import LatencyTable, TableCheck, check_table, latency_table
from embedded_vit.engines import ENGINES, installed_engines, open_graph
from embedded_vit.export.exporting import onnx_graph
from embedded_vit.layers.fused_block import FusedBlock
from embedded_vit.models.channels import keep_channels
from embedded_vit.models.layered_network import LayeredNetwork
from embedded_vit.models.registry import build_network, network_config
from embedded_vit.preprocessing import Preprocessing

PAIR = FusedBlock("pair", (64, 64), 8, (1, 1))
HEADS = FusedBlock("attention", (64, 96), 4, (1, 24))


def hybrid(**given: object) -> LayeredNetwork:
    """Build a small network of the family on 32 pixels."""
    values = {"image_size": 32, "family": "hybrid", "widths": (16, 32, 64), "depth": 2, "stem_stride": 2} | given
    network = build_network(network_config(classes=3, **values)).eval()
    assert isinstance(network, LayeredNetwork)
    return network


def table_of(relative: dict[FusedBlock, float], reference_ms: float = 2.0) -> LatencyTable:
    """Make a table by hand."""
    return LatencyTable("onnxruntime", 1, 16, reference_ms, relative)


@pytest.mark.parametrize("input_channels", [1, 3])
@pytest.mark.parametrize("stem_stride", [1, 2, 4])
def test_the_blocks_have_all_multiply_accumulates_of_the_network(stem_stride: int, input_channels: int) -> None:
    network = hybrid(stem_stride=stem_stride)
    keep_channels(network, {"tokens.0": [0, 2], "encoder.1": range(16), "decoder.1.first": range(16)})
    blocks = network.fused_blocks(32, input_channels=input_channels)
    counted = sum(count_macs(block_graph(block, 1), source=str(block)) for block in blocks)
    assert counted == network.macs(32, input_channels=input_channels)


def test_the_graphs_of_the_blocks_have_the_nodes_of_the_exported_network() -> None:
    """A layer that is changed without its graph would be measured as it was."""
    preprocessing = Preprocessing.for_modality("CT", image_size=32, output_stride=2)
    network = hybrid()
    written = onnx.load_from_string(onnx_graph(network, preprocessing)).graph.node
    operators = [node.op_type for node in written]
    ours: list[str] = []
    for block in network.fused_blocks(32, input_channels=1):
        ours += [node.op_type for node in onnx.load_from_string(block_graph(block, 1)).graph.node]
    assert sorted(operators) == sorted(ours)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("copies", [1, 3])
def test_copies_follow_one_another_in_every_engine(engine: str, copies: int) -> None:
    if engine not in installed_engines():
        pytest.skip(f"{engine} is not installed")
    for block in {block.kind: block for block in hybrid().fused_blocks(32, input_channels=3)}.values():
        if block.kind == "frame" and copies > 1:
            continue
        image = np.random.default_rng(0).uniform(-1, 1, input_shape(block)).astype(np.float32)
        logits = open_graph(block_graph(block, copies), engine, threads=1).run(image)
        assert logits.shape == ((1, 3, 16, 16) if block.kind == "frame" else image.shape)
        assert np.isfinite(logits).all()
        assert logits.std() > 0


def test_a_sum_is_taken_over_blocks_in_milliseconds() -> None:
    small = replace(PAIR, widths=(16, 16))
    table = table_of({PAIR: 3.0, small: 0.5})
    assert table.milliseconds([PAIR, PAIR, small]) == pytest.approx(2.0 * (3.0 + 3.0 + 0.5))


def test_between_measured_widths_a_block_is_interpolated_along_each_axis() -> None:
    corners = {(16, 16): 1.0, (16, 64): 2.0, (64, 16): 3.0, (64, 64): 8.0}
    table = table_of({replace(PAIR, widths=widths): value for widths, value in corners.items()}, reference_ms=1.0)
    assert table.block_ms(replace(PAIR, widths=(32, 16))) == pytest.approx(1.0 + 2.0 / 3)
    assert table.block_ms(replace(PAIR, widths=(32, 48))) == pytest.approx(
        (2 / 3) * (1 / 3) * 1 + (2 / 3) * (2 / 3) * 2 + (1 / 3) * (1 / 3) * 3 + (1 / 3) * (2 / 3) * 8
    )


@pytest.mark.parametrize(("width", "filled"), [(16, 16), (17, 32), (24, 32), (1, 16), (33, 64)])
def test_a_width_costs_the_whole_blocks_that_it_fills(width: int, filled: int) -> None:
    table = table_of({replace(PAIR, widths=(each, 16)): float(each) for each in (16, 32, 64)}, reference_ms=1.0)
    expected = {33: 48.0}.get(width, float(filled))  # three blocks, between two and four
    assert table.block_ms(replace(PAIR, widths=(width, 16))) == pytest.approx(expected)


def test_a_block_of_another_size_is_not_in_the_table() -> None:
    with pytest.raises(KeyError):
        table_of({PAIR: 1.0}).block_ms(replace(PAIR, side=16))


def test_a_figure_is_the_difference_of_two_graphs_over_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[FusedBlock, int]] = []

    def query(block: FusedBlock, copies: int, **_: object):
        opened.append((block, copies))
        return lambda: (block, copies)

    def measure(queries: Sequence) -> np.ndarray:
        """Each copy of a block takes its first width in ms, each call 100 ms more; the reference takes 50."""
        asked = [ask() for ask in queries]
        return np.array([50.0 if block == module.REFERENCE else 100 + n * block.widths[0] for block, n in asked])

    monkeypatch.setattr(module, "_query", query)
    table = latency_table([PAIR], multiple=16, measure=measure)
    assert table.reference_ms == 50.0
    assert set(table.relative) == {replace(PAIR, widths=(c, i)) for c in (16, 32, 64) for i in (16, 32, 64)}
    assert all(value == pytest.approx(block.widths[0] / 50) for block, value in table.relative.items())
    copies = {block.widths: copies for block, copies in opened if block != module.REFERENCE and copies > 1}
    assert copies[64, 64] == 1 + 3  # 4.7 M multiply-accumulates
    assert copies[16, 16] == 1 + 16


@pytest.mark.parametrize(
    ("block", "multiple", "expected"),
    [
        (replace(PAIR, widths=(16, 48)), 16, {(16, 16), (16, 32), (16, 48)}),
        (replace(PAIR, widths=(24, 8)), 16, {(16, 16), (32, 16)}),
        (replace(PAIR, widths=(24, 8)), 8, {(8, 8), (16, 8), (24, 8)}),
        (HEADS, 16, {(c, a) for c in (16, 32, 64) for a in (48, 96)}),  # two heads of 24 fill three blocks
    ],
)
def test_only_whole_blocks_and_whole_heads_are_measured(block: FusedBlock, multiple: int, expected: set) -> None:
    assert {entry.widths for entry in module._entries([block], multiple)} == expected


def test_blocks_that_differ_in_width_alone_share_their_entries() -> None:
    narrow = replace(PAIR, widths=(64, 16))
    assert module._entries([PAIR, narrow], 16) == module._entries([PAIR], 16)


def test_figures_are_kept_for_engine_version_and_machine(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "steady_latency_ms", lambda queries, **_: np.arange(1.0, 1 + len(queries)))
    monkeypatch.setattr(module, "processor_flags", lambda: ("avx512f",))  # blocks of 16 channels, so one entry
    block, measured = replace(PAIR, widths=(16, 16)), []

    def note(entry: FusedBlock, _: float) -> None:
        measured.append(entry)

    first = latency_table([block], on_entry=note)
    assert latency_table([block], on_entry=note) == first
    assert measured == [block]
    latency_table([block], threads=2, on_entry=note)
    latency_table([block], on_entry=note, anew=True)
    assert measured == [block] * 3
    monkeypatch.setattr(module, "processor_name", lambda: "another")
    latency_table([block], on_entry=note)
    assert measured == [block] * 4


@pytest.mark.parametrize(
    ("sum_ms", "holds"), [(10.0, True), (10.9, True), (9.1, True), (11.2, False), (8.8, False), (4.0, False)]
)
def test_a_table_that_is_off_by_more_than_a_tenth_may_not_choose(sum_ms: float, holds: bool) -> None:
    check = TableCheck(sum_ms, 10.0)
    assert check.holds is holds
    assert f"{sum_ms / 10 - 1:+.1%}" in str(check)


def test_the_sum_is_compared_at_the_speed_of_the_moment() -> None:
    """The machine is half as fast as when the table was measured; the table still holds."""
    graph = block_graph(PAIR, 1)
    image = np.zeros(input_shape(PAIR), np.float32)
    table = table_of({PAIR: 3.0}, reference_ms=2.0)
    check = check_table(table, [PAIR], graph, image, measure=lambda _: np.array([12.6, 4.0, 4.0]))
    assert (check.sum_ms, check.whole_ms) == (pytest.approx(12.0), pytest.approx(12.6))


def test_the_families_that_cannot_be_divided_have_no_blocks() -> None:
    network = build_network(network_config(classes=3, image_size=32, widths=(16, 24)))
    assert isinstance(network, LayeredNetwork)
    assert network.fused_blocks(32) == []


@pytest.mark.parametrize("threads", [1, 2])
def test_the_real_clock_gives_numbers(threads: int, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "ROUNDS", 3)
    monkeypatch.setattr(module, "WHOLE_ROUNDS", 3)
    blocks = hybrid(widths=(16, 32), depth=1).fused_blocks(32, input_channels=3)
    table = latency_table(blocks, threads=threads)
    assert math.isfinite(table.milliseconds(blocks))
    frame = blocks[0]
    graph, image = block_graph(frame, 1), np.zeros(input_shape(frame), np.float32)
    assert check_table(table, [frame], graph, image).whole_ms > 0


def test_on_one_thread_only_what_this_process_computes_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def stream(queries: Sequence, **given: object):
        asked.append(given["processor_time"])
        latencies_ms = np.array([[float(row)] * len(queries) for row in range(11)])
        return type("Stream", (), {"latencies_ms": latencies_ms})

    monkeypatch.setattr("embedded_vit.costs.latency.single_stream", stream)
    assert steady_latency_ms([torch.ones], threads=1).tolist() == [1.0]
    assert steady_latency_ms([torch.ones], threads=2).tolist() == [1.0]
    assert asked == [True, False]
