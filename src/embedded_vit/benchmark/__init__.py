"""Latency, cold start, memory, size, accuracy and energy of one model, or of two in turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["BenchmarkResult", "benchmark", "read_result", "result_text", "save_result"]

if TYPE_CHECKING:
    from embedded_vit.benchmark.result import BenchmarkResult
    from embedded_vit.benchmark.result_file import read_result, save_result
    from embedded_vit.benchmark.result_table import result_text
    from embedded_vit.benchmark.run import benchmark
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "result": ["BenchmarkResult"],
            "result_file": ["read_result", "save_result"],
            "result_table": ["result_text"],
            "run": ["benchmark"],
        },
    )
