"""A user's own network: its class by import path, and whether its source is still the one that was trained."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from embedded_vit.errors import ConfigError, NetworkError

__all__ = ["imported", "made", "read_options", "source_sha256"]

Option: TypeAlias = bool | int | float | str


def read_options(words: Sequence[str]) -> dict[str, Option]:
    """Read arguments as the command line takes them: width=32, ratio=0.5, gated=true, norm=batch.

    Raises:
        ConfigError: A word is not of the form name=value.
    """
    found: dict[str, Option] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not (name.isidentifier() and equals):
            raise ConfigError(f"--model-options {word}: expected name=value, as in width=32")
        found[name] = _value(text)
    return found


def _value(text: str) -> Option:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def made(path: str, options: Mapping[str, Option], *, in_channels: int, classes: int, image_size: int) -> nn.Module:
    """Make a network of a user's class with fresh initial values.

    Args:
        path: package.module:Class.
        options: Further arguments of the class.
        in_channels, classes, image_size: What every class takes.

    Raises:
        NetworkError: The class cannot be imported, is no nn.Module, or does not take these arguments.
    """
    found = imported(path, "--model")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise NetworkError(f"--model {path}: is not a class derived from torch.nn.Module")
    given = {"in_channels": in_channels, "classes": classes, "image_size": image_size, **options}
    try:
        inspect.signature(found).bind(**given)
    except TypeError as error:
        raise NetworkError(f"--model {path}: cannot be called with {', '.join(given)}: {error}") from error
    return found(**given)


def imported(path: str, option: str) -> Any:
    """Import what a user named as package.module:name; the working folder is looked through as well.

    Args:
        path: As the user gave it.
        option: Of the command line, for messages.

    Raises:
        NetworkError: It cannot be imported.
    """
    module_name, _, name = path.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # `python -m` would do it; our command is a script
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise NetworkError(f"{option} {path}: cannot import it ({error}); expected package.module:name") from error


def source_sha256(path: str) -> str | None:
    """Return the SHA-256 of the file that defines a user's class; None where Python finds no class or no file."""
    try:
        file = inspect.getsourcefile(imported(path, "--model"))
    except (NetworkError, TypeError):
        return None
    return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
