"""Prediction: a scan goes in, a mask comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["Listener", "Prediction", "Predictor", "predict_path"]

if TYPE_CHECKING:
    from embedded_vit.predict.folder import Listener, predict_path
    from embedded_vit.predict.predictor import Prediction, Predictor
else:
    __getattr__, __dir__ = lazily(
        __name__, {"folder": ["Listener", "predict_path"], "predictor": ["Prediction", "Predictor"]}
    )
