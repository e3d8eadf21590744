"""Embedded-ViT: small vision transformers that segment medical images without a GPU. Research use only.

The Python API is three lines and needs no PyTorch::

    predictor = embedded_vit.load("model.onnx")  # or the name of a built-in model
    prediction = predictor.predict("scan.nii.gz")
    prediction.save("mask.nii.gz")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from embedded_vit.runtime.engines import EngineName
    from embedded_vit.runtime.predictor import Predictor

__all__ = ["RESEARCH_USE_ONLY", "__version__", "load"]

__version__ = "0.1.0"

RESEARCH_USE_ONLY = "Research use only. Not a medical device: do not use for diagnosis or treatment."


def load(model: str | Path, engine: EngineName = "onnxruntime", *, threads: int | None = None) -> Predictor:
    """Load an artifact for prediction.

    Args:
        model: An artifact's path, or the name of a built-in model; see `embedded_vit.builtin.resolve.model_path`.
        engine, threads: As `embedded_vit.runtime.predictor.Predictor.load` takes them.
    """
    from embedded_vit.builtin.resolve import model_path
    from embedded_vit.runtime.predictor import Predictor

    return Predictor.load(model_path(model), engine, threads=threads)
