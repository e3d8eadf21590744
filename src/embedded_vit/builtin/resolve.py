"""How a model that a user names, a file or a built-in model, becomes a path; one rule for every verb and for `load`."""

from __future__ import annotations

import os
from pathlib import Path

from embedded_vit.builtin.index import artifact_path, builtin_names, none_like
from embedded_vit.errors import ConfigError

__all__ = ["model_path"]


def model_path(model: str | Path) -> Path:
    """Return the path of the model that a user names.

    A `Path` is a path, and so is text with a separator or a suffix (`./model`, `model.onnx`). Other text is the name
    of a built-in model, or else of a file or run folder in the current folder. Where both exist the name is ambiguous
    and refused.

    Args:
        model: A path, or the name of a built-in model.

    Returns:
        A path. A path that was given as such may not exist; its reader reports that.

    Raises:
        ConfigError: The name belongs to a file here and to a built-in model, or to neither.
    """
    if isinstance(model, Path) or Path(model).suffix or any(separator in model for separator in ("/", os.sep)):
        return Path(model)
    builtin, here = model in builtin_names(), Path(model).exists()
    if builtin and here:
        raise ConfigError(
            f"'{model}' is a built-in model and also a file in this folder; "
            f"write .{os.sep}{model} for the file, or run the command in another folder for the built-in model"
        )
    if builtin:
        return artifact_path(model)
    if here:
        return Path(model)
    raise ConfigError(f"'{model}': neither a file in this folder nor a built-in model{none_like(model)}")
