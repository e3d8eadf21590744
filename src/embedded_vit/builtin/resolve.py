"""A model as a user names it, a file or a built-in one, becomes a path. The one rule, for every verb and for `load`."""

from __future__ import annotations

import os
from pathlib import Path

from embedded_vit.builtin.index import artifact_path, builtin_names, none_like
from embedded_vit.errors import ConfigError

__all__ = ["model_path"]


def model_path(model: str | Path) -> Path:
    """Find what a user means by MODEL.

    A `Path` is a path, and so is text with a separator or a suffix (`./model`, `model.onnx`). Other text names a
    built-in model, or a file or run folder of that name where no built-in model is called so. Where both are there
    nobody can know which is meant, and neither is taken.

    Args:
        model: A path, or the name of a built-in model.

    Returns:
        A path; whether anything is there is for its reader to say, but for a name that is neither.

    Raises:
        ConfigError: The name is that of a file here and of a built-in model, or of neither.
    """
    if isinstance(model, Path) or Path(model).suffix or any(separator in model for separator in ("/", os.sep)):
        return Path(model)
    builtin, here = model in builtin_names(), Path(model).exists()
    if builtin and here:
        raise ConfigError(
            f"'{model}' is a built-in model and also lies in this folder; "
            f".{os.sep}{model} means the latter, and from another folder '{model}' means the former"
        )
    if builtin:
        return artifact_path(model)
    if here:
        return Path(model)
    raise ConfigError(f"'{model}': nothing in this folder is called so, nor is a built-in model{none_like(model)}")
