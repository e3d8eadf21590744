from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from artifact_fixtures import threshold_graph
from onnx import numpy_helper

from embedded_vit.costs.footprint import footprint, peak_memory_mib
from embedded_vit.errors import FileFormatError

WEIGHTS = 200_000


def graph_with_weights(weights: np.ndarray) -> onnx.ModelProto:
    model = threshold_graph()
    model.graph.initializer.append(numpy_helper.from_array(weights.astype(np.float32), "weights"))
    return model


def test_zero_weights_only_show_when_compressed(make_artifact: Callable[..., Path]) -> None:
    weights = np.random.default_rng(0).standard_normal(WEIGHTS)
    dense = footprint(make_artifact(graph_with_weights(weights), "dense.onnx"))
    weights[: WEIGHTS // 2] = 0
    sparse = footprint(make_artifact(graph_with_weights(weights), "sparse.onnx"))
    assert dense.file_bytes == sparse.file_bytes > 4 * WEIGHTS
    assert sparse.deflated_bytes == pytest.approx(dense.deflated_bytes / 2, rel=0.1)


def test_peak_memory_is_the_fresh_process_own_not_its_parents(make_artifact: Callable[..., Path]) -> None:
    held = np.ones(50_000_000)  # 381 MiB that a forked process would seem to hold, too
    assert 20 < peak_memory_mib(make_artifact()) < held.nbytes / 2**20


def test_what_is_no_artifact_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(FileFormatError, match=r"other\.onnx") as refused:
        footprint(path)
    assert "\n" not in str(refused.value)
    with pytest.raises(FileFormatError, match="cannot read"):
        footprint(tmp_path / "missing.onnx")
