"""The engine tells nobody anything: ONNX Runtime's usage reports are off."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

MakeArtifact = Callable[..., Path]


def test_loading_and_running_an_artifact_leaves_nothing_in_the_home_folder(
    make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    script = (
        "import sys, numpy, embedded_vit.engines as e;"
        "e.load(sys.argv[1]).run(numpy.zeros((1, 1, 32, 32), numpy.float32))"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(make_artifact())], env=environment | {"HOME": str(home)}, check=True
    )
    assert [path for path in home.rglob("*") if path.is_file()] == []
