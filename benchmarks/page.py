"""A page in Chromium beside `predict`: time until it is ready, time of a CT, and voxels whose labels differ.

    python benchmarks/page.py [MODEL ...] [--slices 100] [--size 512] [--repeats 2]

`predict` computes on one thread; the page once on one stream and once on as many as it takes by itself, in turns, and
the median of the repeats counts. The scan is chosen five seconds after the page is there, as somebody does who looks
for it. The time until the scan is drawn follows, which a graphics card shortens. The scan is generated. It needs Node,
chromium and a checkout with a built page (`python web/build_page.py`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from footnote import footnote

from embedded_vit.artifact.manifest import read_artifact
from embedded_vit.builtin.resolve import model_path
from embedded_vit.datasets.phantom import PhantomSettings, make_phantom
from embedded_vit.io.nifti import read_labels, write_volume
from embedded_vit.page import write_page
from embedded_vit.predict import Predictor

DRIVER = Path(__file__).resolve().parents[1] / "web" / "test" / "browser.mjs"
PATIENCE_MS = 900_000
REST_MS = 5_000  # between the page and the scan; the browser compiles the engine meanwhile
STREAMS = ("#streams=1", "")  # behind the address of the page: how many slices it computes at a time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=model_path, nargs="*", metavar="MODEL", default=[model_path("abdomen-ct")])
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None or shutil.which("node") is None:
        sys.exit("page.py: chromium and Node are needed")
    print(footnote())
    print(
        "\n| model | page, MB | first view, s | predict, s | page, s: one stream, all | page / predict "
        "| drawn after, s | labels that differ |\n|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = folder / "scan.nii.gz"
        volume, _ = make_phantom(0, settings=PhantomSettings(size=arguments.size, slices=arguments.slices))
        write_volume(scan, volume.reoriented("RAS"))
        for model in arguments.models:
            print(row(model, scan, folder, chromium, arguments.repeats), flush=True)


def row(model: Path, scan: Path, folder: Path, chromium: str, repeats: int) -> str:
    """Measure one model and return its row."""
    page = folder / f"{model.stem}.html"
    size = write_page(model, page)
    predictor = Predictor.load(model, threads=1)
    native: list[float] = []
    pages: dict[str, list[float]] = {hash_: [] for hash_ in STREAMS}
    first_view: list[float] = []
    drawn: list[float] = []
    for repeat in range(repeats):
        started = time.perf_counter()
        expected = predictor.predict(scan, force=True)
        native.append(time.perf_counter() - started)
        for hash_ in STREAMS:
            opened, chosen = in_browser(page, scan, folder / f"{repeat}", chromium, hash_)[:2]
            seconds = json.loads((folder / f"{repeat}.json").read_text(encoding="utf-8"))["seconds"]
            pages[hash_].append(seconds["reading"] + seconds["segmenting"])
            first_view.append(opened["seconds"])
            drawn.append(chosen["seconds"])
    mask = read_labels(folder / "0.nii.gz").array
    different = np.count_nonzero(mask != expected.mask.array) / mask.size
    _, manifest = read_artifact(model)
    one, every = (median(seconds) for seconds in pages.values())
    by = median(native)
    return (
        f"| {manifest.name} | {size / 1e6:.1f} | {median(first_view):.1f} | {by:.1f} | {one:.1f}, {every:.1f} "
        f"| {one / by:.2f}, {every / by:.2f} | {median(drawn):.0f} | {different:.1e} |"
    )


def in_browser(page: Path, scan: Path, output: Path, chromium: str, hash_: str) -> list[dict[str, Any]]:
    """Segment a scan in a page and save what it gives; return what each step found."""
    steps: list[dict[str, Any]] = [
        {"do": "open", "hash": hash_, "rest_ms": REST_MS},
        {"do": "choose", "files": [str(scan)]},
        {"do": "save", "what": "mask", "path": f"{output}.nii.gz"},
        {"do": "save", "what": "json", "path": f"{output}.json"},
    ]
    job = output.with_suffix(".job")
    content = {"page": str(page), "chromium": chromium, "patience_ms": PATIENCE_MS, "steps": steps}
    job.write_text(json.dumps(content), encoding="utf-8")
    done = subprocess.run(["node", str(DRIVER), str(job)], capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    if answer["failure"]:
        sys.exit(f"page.py: {answer['failure']}")
    found: list[dict[str, Any]] = answer["answers"]
    return found


if __name__ == "__main__":
    main()
