"""Places that may not be read or written, and files where folders are wanted: one line and exit status 2, every verb.

Root may read everything, so the calls run in a process without that right: `CAP_DAC_OVERRIDE` and
`CAP_DAC_READ_SEARCH` are taken from it, and it stays the owner of its files.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from artifact_fixtures import threshold_graph, threshold_manifest
from network_fixtures import made_run

from embedded_vit.artifact.manifest import sealed
from embedded_vit.models.registry import network_config

DROP_FROM_BOUNDING_SET, OVERRIDE, READ_SEARCH = 24, 1, 2  # linux/prctl.h, linux/capability.h
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="how to be root without its rights is Linux's")

# Runs every call with its places closed; says whether closing them works, and each call's status and standard error.
PROGRAM = """
import contextlib, io, json, sys, warnings
from pathlib import Path
from embedded_vit.cli import main
warnings.simplefilter("ignore")
calls, found = json.loads(Path(sys.argv[1]).read_text()), []
for closed, mode, arguments in calls:
    before = [(Path(path), Path(path).stat().st_mode) for path in closed]
    for path, _ in before:
        path.chmod(mode)
    said, status = io.StringIO(), 0
    sys.argv = ["embedded-vit", *arguments]
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            main()
    except SystemExit as exited:
        status = int(exited.code or 0)
    except BaseException as error:
        status, said = -1, io.StringIO(f"{type(error).__name__}: {error}")
    for path, mode in before:
        path.chmod(mode)
    found.append([status, said.getvalue()])
print(json.dumps(found))
"""


def without_override() -> None:
    """Give up, for the program that comes next, that root reads and writes what permissions forbid."""
    for capability in (OVERRIDE, READ_SEARCH):
        ctypes.CDLL(None).prctl(DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)


@pytest.fixture(scope="module")
def top(nnunet_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, a run, a model, a plan, folders that nobody may write to, and a file where folders are wanted."""
    top = tmp_path_factory.mktemp("places")
    shutil.copytree(nnunet_folder, top / "data")
    names = sorted(path.name.removesuffix(".nii.gz") for path in (top / "data" / "labelsTr").iterdir())
    config = network_config(image_size=32, family="unet", widths=(8, 16), classes=9)
    made_run(top / "run", config, data_folder=top / "data", train=tuple(names[:-1]), test=(names[-1],))
    graph = threshold_graph().SerializeToString()
    (top / "model.onnx").write_bytes(sealed(graph, threshold_manifest(graph)))
    shutil.copy(next((top / "data" / "imagesTs").iterdir()), top / "scan.nii.gz")
    for name in ("shut", "empty", "holds_config/config.json", "holds_description/dataset.json"):
        (top / name).mkdir(parents=True)
    (top / "file").write_text("a file")
    (top / "plan.yaml").write_text("steps:\n  - quantize: {precision: int8}\n")
    (top / "points.csv").write_text("name,dice,macs\na,0.5,1e6\n")
    return top


UNREADABLE = [
    ("scan.nii.gz", "predict model.onnx scan.nii.gz -o empty/mask.nii.gz"),
    ("data/imagesTs", "predict model.onnx data/imagesTs -o empty"),
    ("data/imagesTs", "predict model.onnx data -o empty"),
    ("model.onnx", "predict model.onnx scan.nii.gz -o empty/mask.nii.gz"),
    ("model.onnx", "info model.onnx"),
    ("model.onnx", "benchmark model.onnx --seconds 0.1"),
    ("run", "info run"),
    ("run/config.json", "info run"),
    ("data", "data data"),
    ("data/dataset.json", "data data"),
    ("data/labelsTr", "data data"),
    ("data", "train --data data -o empty/run --network embedded-vit-64 --epochs 1"),
    ("data/labelsTr", "train --data data -o empty/run --network embedded-vit-64 --epochs 1"),
    ("run", "train --data data -o empty/run --network embedded-vit-64 --epochs 1 --init run"),
    ("run", "export run -o empty/model.onnx"),
    ("run/model.safetensors", "export run -o empty/model.onnx"),
    ("run/training.json", "evaluate run --data data -o empty/scores"),
    ("data", "evaluate run --data data -o empty/scores"),
    ("plan.yaml", "compress run --plan plan.yaml -o empty/small"),
    ("run", "compress run --plan plan.yaml -o empty/small"),
    ("run", "report run -o empty/report.html"),
    ("points.csv", "report run -o empty/report.html --compare points.csv"),
    ("data", "search --data data --budget macs=1 -o empty/search"),
    ("data", "build --data data -o empty/built"),
]
UNWRITABLE = [
    "predict model.onnx scan.nii.gz -o shut/mask.nii.gz --force",
    "predict model.onnx scan.nii.gz -o shut/deep/mask.nii.gz --force",
    "predict model.onnx data/imagesTs -o shut/masks --force",
    "train --data data -o shut/run --network embedded-vit-64 --epochs 1",
    "export run -o shut/model.onnx",
    "export run -o empty/model.onnx --test-vectors shut/vectors",
    "evaluate run --data data -o shut --split all",
    "compress run --plan plan.yaml -o shut/small",
    "report run -o shut/report.html",
    "search --data data --budget macs=1 -o shut/search",
    "benchmark model.onnx --seconds 0.1 -o shut/latency.json",
    "phantom shut/phantoms --cases 2 --size 32 --slices 8",
    "build --data data -o shut/built",
]
FILE_FOR_FOLDER = [
    "predict model.onnx file -o empty/mask.nii.gz",
    "predict model.onnx file/deep -o empty",
    "predict run scan.nii.gz -o empty/mask.nii.gz",
    "predict model.onnx scan.nii.gz -o file/mask.nii.gz --force",
    "predict model.onnx data/imagesTs -o file",
    "data file",
    "data holds_description",
    "info holds_config",
    "train --data file -o empty/run --network embedded-vit-64",
    "train --data data -o file --network embedded-vit-64",
    "train --data data -o file/run --network embedded-vit-64",
    "export file -o empty/model.onnx",
    "export holds_config -o empty/model.onnx",
    "export run -o file/model.onnx",
    "evaluate run --data data -o file",
    "evaluate run --data file -o empty/scores",
    "evaluate data --data data -o empty/scores",
    "compress file --plan plan.yaml -o empty/small",
    "compress run --plan empty -o empty/small",
    "compress run --plan plan.yaml -o file",
    "compress run --plan plan.yaml -o empty/small --data file",
    "report file -o empty/report.html",
    "report run -o file/report.html",
    "report run -o empty/report.html --compare empty",
    "search --data data --budget macs=1 -o file",
    "search --data data --budget macs=1 -o file/search",
    "benchmark empty",
    "benchmark model.onnx --seconds 0.1 -o file/latency.json",
    "phantom file --cases 2",
    "phantom file/phantoms --cases 2",
    "build --data file -o empty/built",
    "build --data data -o file",
]


def test_places_that_cannot_be_used_are_one_line_and_status_2(top: Path, tmp_path: Path) -> None:
    """All calls in one process, as most of their time is the libraries' imports."""
    calls = [([place], 0, arguments) for place, arguments in UNREADABLE]
    calls += [(["shut"], 0o500, arguments) for arguments in UNWRITABLE]
    calls += [([], 0, arguments) for arguments in FILE_FOR_FOLDER]
    wanted = [([str(top / place) for place in closed], mode, text.split()) for closed, mode, text in calls]
    (tmp_path / "calls.json").write_text(json.dumps(wanted))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "calls.json")],
        cwd=top,
        preexec_fn=without_override,
        capture_output=True,
        text=True,
        check=True,
    )
    wrong = []
    for (_, _, arguments), (status, said) in zip(calls, json.loads(done.stdout.splitlines()[-1]), strict=True):
        lines = [line for line in said.splitlines() if line.strip()]
        if status != 2 or not lines or not lines[-1].startswith("embedded-vit: ") or _other_errors(lines):
            wrong.append(f"{arguments}: {status} {said.strip()[-400:]}")
    assert wrong == []
    assert sorted(path.name for path in (top / "empty").rglob("*")) == []


def _other_errors(lines: list[str]) -> bool:
    """Whether more is said than the error, the line of one scan among several before it, and what `build` is at."""
    more = [line for line in lines if not line.startswith("embedded-vit: ")]
    return any(not line.endswith("...") for line in more) or len(lines) - len(more) > 2
