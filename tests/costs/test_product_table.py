"""A user's network: what its convolutions and matrix products take is told apart by a few measurements of the whole."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from other_networks import UNet

from embedded_vit.costs import product_table as module
from embedded_vit.costs.product_table import ProductTable, product_table
from embedded_vit.models.traced import TracedNetwork
from embedded_vit.models.traced.groups import TracedChannels

SIZE, REST_MS = 32, 1.0
IMAGE = np.zeros((1, 2, SIZE, SIZE), np.float32)


@pytest.fixture(scope="module")
def network() -> TracedNetwork:
    torch.manual_seed(0)
    return TracedNetwork.of(UNet(in_channels=2, classes=3, image_size=SIZE).eval(), (2, SIZE, SIZE))


@pytest.fixture(scope="module")
def narrowed(network: TracedNetwork) -> dict[str, int]:
    return {name: width // 2 for name, width in TracedChannels(network).widths.items()}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose graphs are numbers: the milliseconds that they take."""
    monkeypatch.setattr(
        module, "open_graph", lambda graph, engine, *, threads: SimpleNamespace(run=lambda image: float(graph))
    )


def in_turns(queries: Any) -> np.ndarray:
    return np.array([query() for query in queries])


def test_the_latency_of_other_widths_is_predicted(network: TracedNetwork, narrowed: dict[str, int]) -> None:
    whole = TracedChannels(network).product_macs
    took_ms = 4 * whole / whole.sum()
    took_ms[[0, 5]] *= 8, 5  # as convolutions do that wait for memory

    def graph_of(smaller: TracedNetwork) -> bytes:
        return str(REST_MS + took_ms @ (TracedChannels(smaller).product_macs / whole)).encode()

    table, check = product_table(network, narrowed, graph_of, IMAGE, measure=in_turns)
    assert check.holds
    assert table.milliseconds({}) == pytest.approx(REST_MS + took_ms.sum(), rel=0.05)
    random, by_macs_is_off = np.random.default_rng(1), []
    for _ in range(5):
        widths = {name: int(random.integers(width, 2 * width)) for name, width in narrowed.items()}
        expected = REST_MS + took_ms @ table.channels.parts(widths)
        by_macs = (REST_MS + took_ms.sum()) * table.channels.macs(widths) / whole.sum()
        assert table.milliseconds(widths) == pytest.approx(expected, rel=0.08)
        by_macs_is_off.append(abs(by_macs / expected - 1))
    assert max(by_macs_is_off) > 0.15
    again = ProductTable.from_plain(table.plain(), network)
    assert again.milliseconds(narrowed) == table.milliseconds(narrowed)


def test_what_follows_no_channels_is_not_trusted(network: TracedNetwork, narrowed: dict[str, int]) -> None:
    random = np.random.default_rng(0)
    _, check = product_table(network, narrowed, lambda _: str(random.uniform(1, 9)).encode(), IMAGE, measure=in_turns)
    assert not check.holds


def test_a_network_that_gets_no_faster_has_products_that_take_nothing(
    network: TracedNetwork, narrowed: dict[str, int]
) -> None:
    table, check = product_table(network, narrowed, lambda _: b"2.5", IMAGE, measure=in_turns)
    assert check.holds
    assert table.milliseconds(narrowed) == pytest.approx(2.5, rel=0.02)
