"""An engine's first try at an artifact, in a process of its own: does it compile, and does it give the same labels?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from embedded_vit.about import __version__
from embedded_vit.artifact.manifest import read_artifact
from embedded_vit.config import Config
from embedded_vit.engines.registry import EngineName, engine_version, installed_engines, make_graph_engine
from embedded_vit.errors import ConfigError, FileFormatError, missing_extra
from embedded_vit.fresh_python import run_python
from embedded_vit.io.cache import recall, remember
from embedded_vit.preprocessing import Grid, Preprocessing
from embedded_vit.provenance import processor_name

__all__ = ["MAXIMUM_DISAGREEMENT", "Trial", "example_images", "tried", "try_here"]

TRIALS = "engine-trials"  # the file of the cache
SECONDS_LIMIT = 300
MAXIMUM_DISAGREEMENT = 5e-3  # of the decided pixels: roundings differ, and an integer network answers in steps
DECIDED = 1.0  # how far the largest logit leads in a decided pixel
EXAMPLES = 3
COARSE = 8  # pixels of the noise that example images are enlarged from


class Trial(Config):
    """What came out."""

    failure: str = Field(default="", description="why the engine cannot be used; empty where it can")
    low_precision_transforms: bool = Field(default=True, description="whether OpenVINO computes in integers")


def tried(path: Path, sha256: str, engine: EngineName) -> Trial:
    """Try an engine on an artifact, or recall what came out when it was tried before.

    Raises:
        ConfigError: The engine is not installed.
        FileFormatError: The engine crashes on the artifact, refuses it or gives other labels than ONNX Runtime.
    """
    if engine not in installed_engines():
        raise ConfigError(missing_extra(engine, engine))
    rule = f"{MAXIMUM_DISAGREEMENT} beyond {DECIDED}"  # a failure by another one says nothing
    key = f"{sha256} {engine} {engine_version(engine)} embedded-vit {__version__} {rule} {processor_name()}"
    known = recall(TRIALS, key)
    trial = Trial.parse(known, source=TRIALS) if isinstance(known, dict) else _try_apart(path, engine)
    if known is None:
        remember(TRIALS, key, trial.model_dump())
    if trial.failure:
        raise FileFormatError(f"{path}: {engine} {trial.failure}; use --engine onnxruntime")
    return trial


def _try_apart(path: Path, engine: EngineName) -> Trial:
    try:
        done = run_python(["-m", "embedded_vit.engines.trial", str(path), engine], seconds_limit=SECONDS_LIMIT)
    except subprocess.TimeoutExpired:
        return Trial(failure=f"did not finish within {SECONDS_LIMIT} seconds")
    if done.returncode != 0:
        return Trial(failure=f"crashed on it (exit status {done.returncode})")
    return Trial.parse(json.loads(done.stdout.splitlines()[-1]), source="trial")


def try_here(path: Path, engine: EngineName) -> Trial:
    """Run the example images twice, and compare their labels with ONNX Runtime's."""
    content, manifest = read_artifact(path)
    images = example_images(manifest.preprocessing)

    def logits(name: EngineName, *, low_precision_transforms: bool = True) -> list[NDArray[np.float32]]:
        """(1, K, S, S) of every image; none where a second call gives other labels."""
        graph = make_graph_engine(
            content, manifest, name, threads=1, low_precision_transforms=low_precision_transforms, source=str(path)
        )
        first, second = ([graph.run(image) for image in images] for _ in range(2))
        same = all(np.array_equal(a.argmax(axis=1), b.argmax(axis=1)) for a, b in zip(first, second, strict=True))
        return first if same else []

    expected = logits("onnxruntime")
    failure = ""
    for transforms in (True, False) if manifest.in_integers else (True,):
        try:
            found = logits(engine, low_precision_transforms=transforms)
        except FileFormatError as error:
            reason = str(error).removeprefix(f"{path}: ")
            return Trial(failure=f"cannot run it ({reason})")
        if not found:
            failure = "gives other labels at a second call"
            continue
        disagreement = float(np.mean([_disagreement(*pair) for pair in zip(found, expected, strict=True)]))
        if disagreement <= MAXIMUM_DISAGREEMENT:
            return Trial(low_precision_transforms=transforms)
        failure = f"gives {disagreement:.1%} of the decided pixels another label than ONNX Runtime"
    return Trial(failure=failure)


def _disagreement(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The part of the decided pixels that have another label; of all pixels where none is decided.

    On noise a network is undecided far more often than on a scan. OpenVINO's integers give other labels than ONNX
    Runtime's to 0.05 % of the pixels of real slices, and to 1.5 % of those of noise, nearly all of them undecided.
    """
    *_, second, largest = np.sort(expected, axis=1).swapaxes(0, 1)  # (1, S, S) each
    decided = largest - second >= DECIDED
    different = found.argmax(axis=1) != expected.argmax(axis=1)
    return float(different[decided].mean() if decided.any() else different.mean())


def example_images(preprocessing: Preprocessing) -> list[NDArray[np.float32]]:
    """Soft blobs of noise, as a scan is no independent noise: each (1, C, S, S) float32 in [-1, 1], always the same."""
    size = preprocessing.image_size
    random = np.random.default_rng(0)
    enlarge = Grid.between((size, size), COARSE).enlarge
    shape = (preprocessing.input_channels, COARSE, COARSE)
    return [enlarge(random.uniform(-1, 1, shape).astype(np.float32))[None] for _ in range(EXAMPLES)]


if __name__ == "__main__":
    [_, artifact, name] = sys.argv
    sys.stdout.write(f"{try_here(Path(artifact), name).model_dump_json()}\n")  # type: ignore[arg-type]
