"""A benchmark result that nobody measured: round figures, to see what becomes of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from embedded_vit.benchmark.accuracy_gate import Accuracy, Dice
from embedded_vit.benchmark.result import BenchmarkResult, Latencies, Measurement, Model, Timing
from embedded_vit.costs.fresh_process import FreshProcess
from embedded_vit.engines.single_stream import paired_ratio
from embedded_vit.provenance import Machine

LATENCIES_MS = np.random.default_rng(0).normal([20.0, 10.0], 0.5, (200, 2))


def model(name: str, precision: str) -> Model:
    return Model(
        path=f"{name}.onnx",
        sha256="0" * 64,
        name=name,
        precision=precision,
        file_bytes=5_310_000,
        macs=682_800_000,
        macs_counter="nobody",
    )


def measurement(models: int = 2, **changes: Any) -> Measurement:
    process = FreshProcess(import_ms=300, load_ms=50, first_slice_ms=40, peak_memory_mib=106)
    timings = tuple(
        Timing(
            engine="onnxruntime",
            engine_version="1.2.3",
            latency=Latencies.of(LATENCIES_MS[:, place]),
            fresh_process=process,
            joules_per_query=0.0125,
        )
        for place in range(models)
    )
    values: dict[str, Any] = {
        "threads": 1,
        "ended_by": "queries",
        "seconds": 6.0,
        "timings": timings,
        "comparison": paired_ratio(LATENCIES_MS) if models == 2 else None,
        "load_average_before": 0.1,
        "load_average_after": 0.9,
        "other_cores_busy": 0.01,
        "trusted": True,
        "distrust_reasons": (),
    }
    return Measurement(**(values | changes))


def result(*measurements: Measurement, count: int = 2, **changes: Any) -> BenchmarkResult:
    values: dict[str, Any] = {
        "scope": "slice",
        "input": "a generated scan, 64 x 512 x 512 int16",
        "models": (model("before", "fp32"), model("after", "int8"))[:count],
        "measurements": measurements or (measurement(count),),
        "accuracy": None,
        "energy_source": "RAPL",
        "machine": Machine(
            processor="A processor",
            architecture="x86_64",
            system="Linux 6.1",
            cores=2,
            flags=("avx2", "fma"),
            governor="performance",
        ),
        "versions": {"embedded-vit": "0.1.0", "python": "3.11"},
        "created": "2026-01-01T00:00:00+00:00",
    }
    return BenchmarkResult(**(values | changes))


def accuracy(second: float = 0.745) -> Accuracy:
    return Accuracy(
        data="Synapse",
        cases=12,
        engine="onnxruntime",
        dice=(Dice(mean=0.75, interval=(0.7, 0.8)), Dice(mean=second, interval=None)),
        keeps_99_percent=second >= 0.99 * 0.75,
        keeps_99_9_percent=second >= 0.999 * 0.75,
        no_gate_because=None,
        notes=(),
    )
