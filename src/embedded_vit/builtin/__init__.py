"""Trained models that come with the package: NAME.onnx, the model file, and NAME.json, its figures and its sources.

`factory/` makes both files; NOTICE.md says whose data the networks were trained on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["BuiltinModel", "builtin_model", "builtin_models", "builtin_names", "model_path"]

if TYPE_CHECKING:
    from embedded_vit.builtin.index import BuiltinModel, builtin_model, builtin_models, builtin_names
    from embedded_vit.builtin.resolve import model_path
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {"index": ["BuiltinModel", "builtin_model", "builtin_models", "builtin_names"], "resolve": ["model_path"]},
    )
