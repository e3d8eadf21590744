"""Prediction on a Ray cluster of this machine: nodes and workers that are killed lose nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_bulk import children_of, cmdline, expected, names, rows, scans

from embedded_vit.errors import ConfigError
from embedded_vit.predict import Crew, Listener, Tally, predict_in_bulk

__all__ = ["scans"]

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'embedded-vit[ray]'")
MakeArtifact = Callable[..., Path]


def descendants(process: int) -> Iterator[int]:
    for child in children_of(process):
        yield child
        yield from descendants(child)


@pytest.mark.slow
def test_a_killed_actor_is_replaced(make_artifact: MakeArtifact, scans: Path) -> None:
    out, tallies, killed = scans.with_name("out"), [], []

    def kill_one(tally: Tally) -> None:
        tallies.append(tally)
        if tally.running and not killed:
            killed.extend(child for child in descendants(os.getpid()) if b"ray::RayWorker" in cmdline(child))
            os.kill(killed[0], signal.SIGKILL)

    crew = Crew(workers=2, threads=1, on_ray=True)
    masks = predict_in_bulk(make_artifact(), scans, out, crew=crew, listener=Listener(on_tally=kill_one))
    assert killed
    assert len(masks) == tallies[-1].done + tallies[-1].there == 5
    assert names(out) == expected(*range(5))
    assert {row[0] for row in rows(out).values()} == {"done"}


@pytest.mark.slow
def test_a_killed_node_loses_nothing(make_artifact: MakeArtifact, scans: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    other = cluster.add_node(num_cpus=1)
    out, lost, waited = scans.with_name("out"), [], []

    def kill_the_other(tally: Tally) -> None:
        if tally.workers == 1 and not waited:
            waited.append(time.sleep(15))  # until the actor of the other node has loaded the model
        if tally.running == 2 and not lost:
            lost.append(other)
            cluster.remove_node(other, allow_graceful=False)

    try:
        crew = Crew(threads=1, on_ray=True, ray_address=cluster.address)
        masks = predict_in_bulk(make_artifact(), scans, out, crew=crew, listener=Listener(on_tally=kill_the_other))
    finally:
        cluster.shutdown()
    assert lost
    assert len(masks) == 5
    assert names(out) == expected(*range(5))


def test_an_address_without_a_cluster_is_one_line(make_artifact: MakeArtifact, scans: Path) -> None:
    crew = Crew(threads=1, on_ray=True, ray_address="auto")
    with pytest.raises(ConfigError, match="no cluster there"):
        predict_in_bulk(make_artifact(), scans, scans.with_name("out"), crew=crew)
