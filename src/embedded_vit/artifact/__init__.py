"""The model file: one `.onnx` with its manifest. Reading it needs neither PyTorch nor an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["Manifest", "read_artifact"]

if TYPE_CHECKING:
    from embedded_vit.artifact.manifest import Manifest, read_artifact
else:
    __getattr__, __dir__ = lazily(__name__, {"manifest": ["Manifest", "read_artifact"]})
