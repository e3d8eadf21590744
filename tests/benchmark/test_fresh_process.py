from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from embedded_vit.benchmark.fresh_process import _one_slice, in_fresh_process
from embedded_vit.errors import FileFormatError
from embedded_vit.preprocessing import Preprocessing


def test_the_slice_is_one_slice_in_the_networks_orientation() -> None:
    preprocessing = Preprocessing.for_modality("CT", image_size=32)
    assert _one_slice(preprocessing).reoriented(preprocessing.orientation).shape == (1, 512, 512)


def test_each_stage_has_its_time(make_artifact: Callable[..., Path]) -> None:
    found = in_fresh_process(make_artifact())
    assert found.import_ms > 0
    assert found.load_ms > 0
    assert found.first_slice_ms > 0
    assert found.peak_memory_mib > 20


def test_a_process_that_fails_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"missing\.onnx") as refused:
        in_fresh_process(tmp_path / "missing.onnx")
    assert "\n" not in str(refused.value)
