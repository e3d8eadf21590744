"""Embedded-ViT: small vision transformers that segment medical images without a GPU. Research use only.

The Python API is three lines and needs no PyTorch::

    predictor = embedded_vit.load("model.onnx")  # or the name of a built-in model
    prediction = predictor.predict("scan.nii.gz")
    prediction.save("mask.nii.gz")

ONNX Runtime's Linux builds (1.32 is one) report usage to their maker unless a variable is set before they are imported.
A hospital's computer tells nobody anything, so it is set here, for whatever in this package loads the engine.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from embedded_vit.about import RESEARCH_USE_ONLY, __version__

if TYPE_CHECKING:
    from pathlib import Path

    from embedded_vit.engines import EngineChoice
    from embedded_vit.predict.predictor import Predictor

__all__ = ["RESEARCH_USE_ONLY", "__version__", "load"]

# Nothing that we import may tell anybody of it. OpenVINO sends an event at each import, unless this package is missing.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def load(model: str | Path, engine: EngineChoice = "onnxruntime", *, threads: int | None = None) -> Predictor:
    """Load an artifact for prediction.

    Args:
        model: An artifact's path, or the name of a built-in model; see `embedded_vit.builtin.resolve.model_path`.
        engine, threads: As `embedded_vit.predict.predictor.Predictor.load` takes them.
    """
    from embedded_vit.builtin.resolve import model_path
    from embedded_vit.predict.predictor import Predictor

    return Predictor.load(model_path(model), engine, threads=threads)
