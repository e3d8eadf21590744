"""The engines tell nobody anything: the usage reports of ONNX Runtime and of OpenVINO are off."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

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


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_importing_openvino_sends_no_event(tmp_path: Path) -> None:
    script = (
        "import sys, embedded_vit.engines.openvino;"
        "from openvino.tools.ovc import telemetry_utils;"
        "print(telemetry_utils.tm.__name__, 'openvino_telemetry.main' in sys.modules)"
    )
    environment = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "openvino.tools.ovc.telemetry_stub False\n"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
