"""Measuring candidates in turns with the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from artifact_fixtures import threshold_graph

from embedded_vit.datasets import open_data_set
from embedded_vit.engines import ENGINES, installed_engines
from embedded_vit.engines.single_stream import Stream
from embedded_vit.search import latency
from embedded_vit.search.latency import LatencyMeter, MeasuredLatency
from embedded_vit.training.settings import RunConfig, TrainingConfig
from embedded_vit.training.training import plan


def config_of(data: Path, image_size: int) -> RunConfig:
    architecture = {"image_size": image_size, "widths": (16, 32)}
    return plan(
        open_data_set(data), network=None, architecture=architecture, training=TrainingConfig.for_recipe("modern")
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_the_ratio_is_taken_pair_by_pair(engine: str, synapse_folder: Path, monkeypatch) -> None:
    """The machine is three times as slow in the second half: the pairs do not notice, medians would."""
    if engine not in installed_engines():
        pytest.skip(f"{engine} is not installed")
    computed = []

    def scripted(queries, **_) -> Stream:
        computed.append([query().shape for query in queries])
        quiet = [[4.0, 2.0]] * 3
        return Stream(np.array([*quiet, [12.0, 6.0], [12.0, 6.0]])[:, -len(queries) :], "queries", 1.0)

    monkeypatch.setattr(
        latency, "onnx_graph", lambda _, contract: threshold_graph(contract.image_size).SerializeToString()
    )
    monkeypatch.setattr(latency, "single_stream", scripted)
    meter = LatencyMeter(config_of(synapse_folder, 32), engine, threads=1)
    assert meter.reference_ms() == 2.0
    assert meter.measure(config_of(synapse_folder, 64)) == MeasuredLatency(4.0, 2.0, 2.0)
    assert computed == [[(1, 2, 32, 32)], [(1, 2, 64, 64), (1, 2, 32, 32)]]
