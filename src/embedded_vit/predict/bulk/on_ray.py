"""Workers on the machines of a Ray cluster; the extra `ray`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from embedded_vit.errors import ConfigError, EmbeddedVitError, missing_extra
from embedded_vit.predict.bulk.case import Answer, Case
from embedded_vit.predict.bulk.worker import Worker, WorkerSetup
from embedded_vit.predict.bulk.workers import Workers

__all__ = ["OnRay"]

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_COUNTS = 10.0  # of the cluster's cores
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}  # nothing is sent anywhere
# Ray on this machine alone would ask the network what its address is, and its servers whether they run in a cloud. The
# first is told that there is no cluster; the second ask a proxy that does not exist.
OF_THIS_MACHINE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "http_proxy": "http://127.0.0.1:9",
    "no_proxy": "localhost,127.0.0.1",
}


class OnRay(Workers):
    """Actors of Ray, each with as many cores as the model takes threads.

    Ray puts them on machines with free cores, and ends them with the driver. Scans and results are on storage that all
    machines see under the same paths; the model goes with the actor.

    Args:
        setup: What every worker is made of, the model as bytes.
        address: Of the cluster, for example `auto` or `10.0.0.1:6379`; None starts Ray on this machine alone.
        workers: How many there are; None for as many as the cluster has cores for, which may change.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at this address.
    """

    def __init__(self, setup: WorkerSetup, address: str | None, workers: int | None) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        with _environment({} if address else OF_THIS_MACHINE):
            self._ray = _started_ray(address)
        self._threads = setup.threads
        self._asked = workers
        self._counted, self._cores = float("-inf"), 0
        self._setup = self._ray.put(setup)
        self._started = 0
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, int] = {}  # what each worker is to answer, and its number

    def wanted(self) -> int:
        """Return how many were asked for, or how many the machines of the cluster have cores for now."""
        if self._asked is not None:
            return self._asked
        if time.monotonic() - self._counted > SECONDS_BETWEEN_COUNTS:
            self._cores = int(self._ray.cluster_resources().get("CPU", 0))
            self._counted = time.monotonic()
        return max(1, self._cores // self._threads)

    def start(self) -> int:
        """Let Ray start an actor where there are free cores."""
        number, self._started = self._started, self._started + 1
        actor = self._ray.remote(RayWorker).options(num_cpus=self._threads, max_restarts=0).remote(number)
        self._actors[number] = actor
        self._pending[actor.load.remote(self._setup)] = number
        return number

    def give(self, worker: int, case: Case) -> None:
        """Call the actor with the case."""
        self._pending[self._actors[worker].answer.remote(case)] = worker

    def wait(self) -> Sequence[Answer]:
        """Return what actors answered, and which of them are gone."""
        ended, _ = self._ray.wait(list(self._pending), timeout=SECONDS_BETWEEN_LOOKS)
        answers = []
        for reference in ended:
            worker = self._pending.pop(reference)
            try:
                answers.append(self._ray.get(reference))
            except self._ray.exceptions.RayError as error:  # also what no worker foresaw
                self._ray.kill(self._actors.pop(worker))
                answers.append(Answer(worker, "ended", reason=type(error).__name__))
        return answers

    def close(self) -> None:
        """Kill all actors and leave the cluster."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors.clear()
        self._ray.shutdown()


def _started_ray(address: str | None) -> Any:
    """Join a cluster, or start one here; return the library."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ConfigError(f"--ray: {missing_extra('Ray', 'ray')}") from error
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level="ERROR",
            **({} if address else {"include_dashboard": False}),
        )
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise ConfigError(
            f"--ray {address or ''}: no cluster there ({type(error).__name__}); start one with `ray start --head`"
        ) from error
    return ray


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Change variables of the environment for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class RayWorker:
    """A worker that Ray runs; it is made without NumPy."""

    def __init__(self, number: int) -> None:
        self._number = number

    def load(self, setup: WorkerSetup) -> Answer:
        """Load the model."""
        try:
            self._worker = Worker(self._number, setup)
        except EmbeddedVitError as error:
            return Answer(self._number, "unable", error=error)
        return Answer(self._number, "ready")

    def answer(self, case: Case) -> Answer:
        """Segment a case."""
        return self._worker.answer(case)
