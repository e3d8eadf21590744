"""Prediction: a scan goes in, a mask comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["Crew", "Listener", "Prediction", "Predictor", "Tally", "predict_in_bulk", "predict_path"]

if TYPE_CHECKING:
    from embedded_vit.predict.bulk.running import Crew, predict_in_bulk
    from embedded_vit.predict.folder import predict_path
    from embedded_vit.predict.listener import Listener, Tally
    from embedded_vit.predict.predictor import Prediction, Predictor
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "bulk.running": ["Crew", "predict_in_bulk"],
            "folder": ["predict_path"],
            "listener": ["Listener", "Tally"],
            "predictor": ["Prediction", "Predictor"],
        },
    )
