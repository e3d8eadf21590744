"""What was found out once about this computer: small JSON files in the user's cache folder, which may vanish."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from embedded_vit.errors import EmbeddedVitError, FileFormatError
from embedded_vit.io.atomic import write_text
from embedded_vit.io.json_file import read_json_object

__all__ = ["cache_folder", "recall", "remember"]


def cache_folder() -> Path:
    """`embedded-vit` in `$XDG_CACHE_HOME`, or in `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "embedded-vit"


def recall(name: str, key: str) -> Any:
    """Read a value; None where it is not there, or the file cannot be read.

    Args:
        name: The file's, without suffix.
        key: The value's.
    """
    try:
        return read_json_object(cache_folder() / f"{name}.json", FileFormatError).get(key)
    except (FileFormatError, RuntimeError):  # RuntimeError: there is no home folder
        return None


def remember(name: str, key: str, value: Any) -> None:
    """Write a JSON value down, if the folder can be written; otherwise it is found out again the next time.

    Args:
        name: The file's, without suffix.
        key: The value's; replaces an older one.
        value: JSON.
    """
    with contextlib.suppress(EmbeddedVitError, OSError, RuntimeError):
        path = cache_folder() / f"{name}.json"
        values: dict[str, Any] = {}
        with contextlib.suppress(FileFormatError):
            values = read_json_object(path, FileFormatError)
        write_text(path, json.dumps(values | {key: value}, indent=1), overwrite=True)
