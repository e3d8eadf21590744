"""The benchmark: one model or two, on each number of threads, with the state of the machine."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedded_vit.artifact.manifest import read_artifact
from embedded_vit.benchmark.accuracy_gate import measure_accuracy, need_evaluation
from embedded_vit.benchmark.queries import Scope, Workload, generated_scan, make_workload, scan_of_data_set
from embedded_vit.benchmark.result import MODEL_LETTERS, BenchmarkResult, Latencies, Measurement, Model, Timing
from embedded_vit.costs.energy import EnergyCounters, NoEnergyCounter
from embedded_vit.costs.fresh_process import FreshProcess, in_fresh_process
from embedded_vit.costs.graph_macs import COUNTER, count_macs
from embedded_vit.costs.machine_state import CoreTimes, load_average
from embedded_vit.costs.noise import busy_reasons, latency_reasons, too_few_reasons
from embedded_vit.engines import ArtifactEngine, EngineChoice, EngineName, load
from embedded_vit.engines.single_stream import paired_ratio, single_stream
from embedded_vit.errors import ConfigError, FileFormatError
from embedded_vit.io.digest import sha256_of
from embedded_vit.provenance import available_cores, this_machine, versions
from embedded_vit.volume import Volume

__all__ = ["benchmark"]

PROCESS_STARTS = 3
ENERGY_SECONDS = 5.0

OnStage = Callable[[str], None]


def benchmark(
    models: Sequence[str | Path],
    *,
    threads: Sequence[int] | None = None,
    engine: EngineChoice = "onnxruntime",
    data: str | Path | None = None,
    scope: Scope = "network",
    seconds: float = 60.0,
    on_stage: OnStage = lambda stage: None,
) -> BenchmarkResult:
    """Measure latency, cold start, memory, size, MACs and energy, and with a data set also accuracy.

    Args:
        models: One artifact or two; two are measured in turns, and the first is the reference.
        threads: Numbers of threads, measured one after another; by default one for each core.
        engine: The engine; "auto" takes the fastest for each model and number of threads.
        data: A labelled data set: its test cases give the accuracy, and the first of them the scan to measure on.
        scope: The work of one query; see `make_workload`.
        seconds: Time limit of a measurement, which ends earlier after 1024 queries per model.
        on_stage: Called with the name of each stage.

    Raises:
        ConfigError: `seconds` is not above 0, a number of threads is below 1, or the engine is not installed.
        FileFormatError: A model is not an artifact, or the engine cannot run it.
        DataSetError: The data set does not fit a model.
        ModuleNotFoundError: `data` is given, but the libraries that score masks are not installed.
    """
    threads, paths = tuple(threads or [available_cores()]), [Path(model) for model in models]
    if not seconds > 0:
        raise ConfigError(f"seconds must be above 0, got {seconds:g}")
    if min(threads) < 1:
        raise ConfigError(f"threads must be at least 1, got {min(threads)}")
    load_before = load_average()
    described = tuple(map(_describe, paths))
    data = None if data is None else Path(data)
    if data is not None:
        need_evaluation()
        on_stage(f"accuracy on {data}")
    accuracy = None if data is None else measure_accuracy(paths, data, threads=max(threads))
    on_stage("the scan to measure on")
    scans, description = _scans(scope, paths, data)
    counters, energy_source = _energy_counters()
    bench = _Bench(paths, scans, scope, engine, seconds, load_before, counters, on_stage)
    measurements = tuple(map(bench.measure, threads))
    return BenchmarkResult(
        scope=scope,
        input=description,
        models=described,
        measurements=measurements,
        accuracy=accuracy,
        energy_source=energy_source,
        machine=this_machine(),
        versions=versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


@dataclass(frozen=True)
class _Bench:
    """The settings that stay the same for every number of threads; fields as the arguments of `benchmark`."""

    paths: Sequence[Path]
    scans: Sequence[Volume | None]
    scope: Scope
    engine: EngineChoice
    seconds: float
    load_before: float | None
    counters: EnergyCounters | None
    on_stage: OnStage

    def measure(self, threads: int) -> Measurement:
        """Measure cold starts and memory in fresh processes, then latency and energy in this one."""
        self.on_stage(f"cold start and memory, threads: {threads}")
        # A scan as in prediction; a single image is answered soonest by one stream of all threads.
        streams = threads if self.scope == "volume" else 1
        engines = [load(path, self.engine, threads=threads, streams=streams) for path in self.paths]
        processes = [_fresh_process(path, each.name, threads) for path, each in zip(self.paths, engines, strict=True)]
        self.on_stage(f"latency, threads: {threads}, at most {self.seconds:g} s")
        return _measure(
            [make_workload(self.scope, each, scan) for each, scan in zip(engines, self.scans, strict=True)],
            engines,
            processes,
            threads=threads,
            seconds=self.seconds,
            load_before=self.load_before,
            counters=self.counters,
        )


def _energy_counters() -> tuple[EnergyCounters | None, str]:
    """Find the processor's energy counters; return them with a description, or None with the reason."""
    try:
        return EnergyCounters.find(), "RAPL, all energy that the processor's packages took"
    except NoEnergyCounter as error:
        return None, str(error)


def _describe(path: Path) -> Model:
    content, manifest = read_artifact(path)
    try:
        macs, counter = count_macs(content, source=str(path)), COUNTER
    except FileFormatError as error:
        macs, counter = None, str(error)
    return Model(
        path=str(path),
        sha256=sha256_of(path),
        name=manifest.name,
        precision=manifest.precision,
        file_bytes=len(content),
        macs=macs,
        macs_counter=counter,
    )


def _scans(scope: Scope, models: Sequence[Path], data: Path | None) -> tuple[list[Volume | None], str]:
    """Return a scan for each model, with the model's channels, and a description of the scans."""
    if scope == "network":
        return [None] * len(models), "noise of the network's input shape"
    scans: list[Volume | None] = []
    for path in models:
        _, manifest = read_artifact(path)
        scan, description = generated_scan(manifest) if data is None else scan_of_data_set(path, data)
        scans.append(scan)
    return scans, description


def _fresh_process(path: Path, engine: EngineName, threads: int) -> FreshProcess:
    """Measure several fresh processes and return the medians."""
    starts = [in_fresh_process(path, threads=threads, engine=engine).model_dump() for _ in range(PROCESS_STARTS)]
    return FreshProcess(**{name: statistics.median(start[name] for start in starts) for name in starts[0]})


def _measure(
    workloads: Sequence[Workload],
    engines: Sequence[ArtifactEngine],
    processes: Sequence[FreshProcess],
    *,
    threads: int,
    seconds: float,
    load_before: float | None,
    counters: EnergyCounters | None,
) -> Measurement:
    """Measure all models in turns on one number of threads, then the energy of each model alone."""
    queries = [workload.query for workload in workloads]
    for workload in workloads:
        for _ in range(workload.warmup):
            workload.query()
    begin = CoreTimes.now()
    stream = single_stream(queries, seconds_limit=seconds, warmup=0)
    end = CoreTimes.now()
    other_cores_busy = None if begin is None or end is None else round(begin.other_cores_busy(end), 3)
    load_after = load_average()
    reasons = busy_reasons(
        threads=threads, cores=available_cores(), load_before=load_before, other_cores_busy=other_cores_busy
    )
    reasons += too_few_reasons(len(stream.latencies_ms), samples=workloads[0].samples)
    timings = []
    for place, (workload, engine, process) in enumerate(zip(workloads, engines, processes, strict=True)):
        latencies_ms: NDArray[np.float64] = stream.latencies_ms[:, place]
        reasons += latency_reasons(MODEL_LETTERS[place], latencies_ms, samples=workload.samples)
        timings.append(
            Timing(
                engine=engine.name,
                engine_version=engine.version,
                latency=Latencies.of(latencies_ms),
                fresh_process=process,
                joules_per_query=None
                if counters is None
                else counters.joules_per_query(workload.query, seconds=min(ENERGY_SECONDS, seconds)),
            )
        )
    return Measurement(
        threads=threads,
        ended_by=stream.ended_by,
        seconds=stream.seconds,
        timings=tuple(timings),
        comparison=paired_ratio(stream.latencies_ms) if len(workloads) == 2 else None,
        load_average_before=load_before,
        load_average_after=load_after,
        other_cores_busy=other_cores_busy,
        trusted=not reasons,
        distrust_reasons=tuple(reasons),
    )
