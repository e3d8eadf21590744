"""Model files in the engine of a browser, onnxruntime-web's WebAssembly, beside ONNX Runtime on the same images.

    npm install --prefix build/browser-engine onnxruntime-web@1.30.0
    python benchmarks/browser_engine.py MODEL.onnx [MODEL.onnx ...] [--engine FOLDER] [--rounds 10]

The WebAssembly runs in Node on one thread; no browser is needed. Prints the largest difference of a logit, whether the
labels are equal, and milliseconds of one image.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from footnote import footnote

from embedded_vit.engines import grainy_images, load
from embedded_vit.errors import ConfigError, EmbeddedVitError, FileFormatError

__all__ = ["InBrowser", "browser_engine", "run_in_browser"]

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (ROOT / "build" / "browser-engine", ROOT / "web")  # where npm may have installed it
SCRIPT = Path(__file__).with_suffix(".mjs")
INSTALL = "npm install --prefix build/browser-engine onnxruntime-web@1.30.0"
SECONDS_LIMIT = 300


@dataclass(frozen=True)
class InBrowser:
    """What a model file gave in the browser's engine.

    Attributes:
        largest_difference: Of a logit, from ONNX Runtime's.
        equal_labels: Whether every pixel has the same label.
        milliseconds: Median of one image.
    """

    largest_difference: float
    equal_labels: bool
    milliseconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    parser.add_argument("--engine", type=Path, help="folder of onnxruntime-web; by default where npm installed it here")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    engine = arguments.engine or browser_engine()
    if engine is None:
        raise ConfigError(f"onnxruntime-web or Node is not installed; install Node 20 or newer, then: {INSTALL}")
    print(f"{footnote()}\n\n| model | largest difference of a logit | equal labels | ms |\n|---|---|---|---|")
    for path in arguments.models:
        found = run_in_browser(path, engine, rounds=arguments.rounds)
        labels = "yes" if found.equal_labels else "no"
        print(f"| {path} | {found.largest_difference:.1e} | {labels} | {found.milliseconds:.1f} |", flush=True)


def browser_engine() -> Path | None:
    """Return the folder of onnxruntime-web, or None if it or Node is not installed."""
    folders = [folder / "node_modules" / "onnxruntime-web" for folder in FOLDERS]
    found = next((folder for folder in folders if (folder / "package.json").is_file()), None)
    return None if shutil.which("node") is None else found


def run_in_browser(path: Path, engine: Path, *, rounds: int = 1) -> InBrowser:
    """Run a model file in Node and in ONNX Runtime on one image.

    Args:
        path: The model file.
        engine: Folder of onnxruntime-web.
        rounds: Whose median is the time.

    Raises:
        FileFormatError: The file is not a model file, or the engine cannot run it.
    """
    reference = load(path, threads=1)
    image = grainy_images(reference.manifest.preprocessing)[0].astype(np.float32)
    expected = reference.run(image)
    with tempfile.TemporaryDirectory() as temporary:
        job, pixels, logits = (Path(temporary) / name for name in ("job.json", "image", "logits"))
        pixels.write_bytes(image.tobytes())
        values = {"model": str(path.resolve()), "image": str(pixels), "shape": image.shape}
        job.write_text(json.dumps({**values, "rounds": rounds, "logits": str(logits)}))
        words = ["node", str(SCRIPT), str(engine), str(job)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS_LIMIT, check=False)
        if done.returncode:
            reason = next((line for line in done.stderr.splitlines() if "rror" in line), "it stopped")
            raise FileFormatError(f"{path}: the browser's engine cannot run it: {reason.strip()[:200]}")
        told = json.loads(done.stdout.splitlines()[-1])
        actual = np.frombuffer(logits.read_bytes(), np.float32).reshape(told["dims"])
    return InBrowser(
        largest_difference=float(np.abs(actual - expected).max()),
        equal_labels=bool(np.array_equal(actual.argmax(axis=1), expected.argmax(axis=1))),
        milliseconds=told["milliseconds"],
    )


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"browser_engine.py: {error}")
