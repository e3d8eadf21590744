"""Training over two hosts, which are network namespaces of this computer: the weights of one, and back after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hosts_fixtures
import pytest
import torch
import torch.distributed as distributed
from hosts_fixtures import Host, two_hosts
from safetensors.torch import load_file

from embedded_vit.training.checkpoint import load_checkpoint
from embedded_vit.training.processes import joined_processes, may_restart

OPTIONS = "--image-size 32 --widths 8 16 --batch-size 8 --threads 1 --validation-cases 1"
OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # docs/training.md says why
RENDEZVOUS = 29500  # in a network of the test's own, where nobody else takes it
RESTARTS = 5
PATIENCE_SECONDS = 500


def words(data: Path, output: Path, *more: str) -> list[str]:
    return ["-m", "embedded_vit", "train", "--data", str(data), "--output", str(output), *OPTIONS.split(), *more]


def started(host: Host, first: Host, data: Path, output: Path, *more: str, restarts: int = 0) -> subprocess.Popen:
    """Start torchrun on a host, with one process of the training."""
    torchrun = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{first.address}:{RENDEZVOUS}", "--rdzv-id", "one"),
        *("--rdzv-conf", f"is_host={host is first}".lower()),  # the names of these hosts are not known to a resolver
        *("--local-addr", host.address, "--max-restarts", str(restarts)),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": host.device, **OWN_STORE}
    return subprocess.Popen(
        host.words(*torchrun, *words(data, output, *more)),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def on_both(hosts: tuple[Host, Host], *given: Any, restarts: int = 0) -> Iterator[list[subprocess.Popen]]:
    """Start torchrun on both hosts; whatever still runs at the end is killed."""
    agents = [started(host, hosts[0], *given, restarts=restarts) for host in hosts]
    try:
        yield agents
    finally:
        for agent in agents:
            if agent.poll() is None:
                for worker in workers_of(agent):
                    os.kill(worker, signal.SIGKILL)
                agent.kill()
            agent.wait()


def workers_of(agent: subprocess.Popen) -> list[int]:
    """Return the processes of the training that torchrun started on a host."""
    found = []
    for task in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((task / "stat").read_text().rpartition(")")[2].split()[1])
            command = (task / "cmdline").read_text()
        except OSError:  # it has just ended
            continue
        if parent == agent.pid and "embedded_vit" in command:
            found.append(int(task.name))
    return found


def over(agents: list[subprocess.Popen]) -> list[str]:
    """Wait until both ended well; return what they said."""
    said = [agent.communicate(timeout=PATIENCE_SECONDS)[1] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said
    return said


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(bool(hosts_fixtures.lacks()), reason=hosts_fixtures.lacks())
def test_two_hosts_equal_one_and_a_killed_process_comes_back(synapse_folder: Path, tmp_path: Path) -> None:
    options = ("--recipe", "paper", "--epochs", "1")
    subprocess.run(
        [sys.executable, *words(synapse_folder, tmp_path / "one", *options)], check=True, capture_output=True
    )
    killed, longer = tmp_path / "killed", ("--epochs", "6")
    with two_hosts() as hosts:
        with on_both(hosts, synapse_folder, tmp_path / "two", *options) as both:
            over(both)
        assert same(tmp_path / "one", tmp_path / "two", within=1e-5)
        with on_both(hosts, synapse_folder, killed, *longer, restarts=RESTARTS) as both:
            for line in both[0].stderr:  # one epoch is whole, the next has begun
                if line.startswith("epoch 2/"):
                    break
            (worker,) = workers_of(both[1])
            os.kill(worker, signal.SIGKILL)
            said = over(both)
    assert [row.epoch for row in load_checkpoint(killed).record.epochs] == [1, 2, 3, 4, 5, 6]
    assert "epoch 1/6" not in "".join(said)  # it went on
    assert not list(killed.rglob(".*"))


def test_processes_that_somebody_else_joined_stay_joined(tmp_path: Path) -> None:
    distributed.init_process_group(
        "gloo", store=distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    try:
        with joined_processes("cpu") as processes:
            assert (processes.rank, processes.count) == (0, 1)
        assert distributed.is_initialized()
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize(("restarts", "expected"), [("3", True), ("0", False), (None, False)])
def test_a_run_is_resumed_by_itself_only_where_torchrun_restarts(
    restarts: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHELASTIC_MAX_RESTARTS", raising=False)
    if restarts is not None:
        monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", restarts)
    assert may_restart() is expected


def same(one: Path, other: Path, *, within: float) -> bool:
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    return first.keys() == second.keys() and all(
        torch.allclose(first[name], second[name], rtol=0, atol=within) for name in first
    )
