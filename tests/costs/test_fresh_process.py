from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from embedded_vit.costs.fresh_process import _one_slice, in_fresh_process
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


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 always looks into the current folder")
def test_what_lies_in_the_current_folder_is_not_imported(
    make_artifact: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = make_artifact().resolve()
    (tmp_path / "nt.py").write_text("raise SystemExit('taken for a module of Windows')")
    monkeypatch.chdir(tmp_path)
    assert in_fresh_process(artifact).import_ms > 0


def test_a_process_that_fails_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"missing\.onnx") as refused:
        in_fresh_process(tmp_path / "missing.onnx")
    assert "\n" not in str(refused.value)
