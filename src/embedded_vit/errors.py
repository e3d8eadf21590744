"""The errors that Embedded-ViT raises on purpose.

    EmbeddedVitError                one line for the user; `exit_status` for the shell
    ├── InputError          (2)     the input is not usable
    │   ├── FileFormatError         a file is unreadable, truncated, damaged or of another kind
    │   ├── DataSetError            a folder is not a data set that can be used
    │   ├── ConfigError             an option is unknown or out of range
    │   ├── NetworkError            shapes, sizes or tensors do not fit the network
    │   ├── CheckpointError         a run folder or a checkpoint cannot be loaded
    │   └── OutputError             the result cannot be written: it already exists, or the disk is full
    ├── ContractError       (3)     refused: outside the contract of the model file (`--force` overrides)
    ├── GateError           (4)     a compression step costs more accuracy than the gate of the plan allows
    └── TrainingError       (1)     training cannot go on: the loss is not finite

A message says what came, what was expected, where (file or tensor), and what to do. It never holds patient text.
"""

from __future__ import annotations

from embedded_vit.printable import printable

__all__ = [
    "CheckpointError",
    "ConfigError",
    "ContractError",
    "DataSetError",
    "EmbeddedVitError",
    "FileFormatError",
    "GateError",
    "InputError",
    "NetworkError",
    "OutputError",
    "TrainingError",
    "missing_extra",
]


class EmbeddedVitError(Exception):
    """The base of every error raised on purpose; `str(error)` is one line for the user, names in it escaped."""

    exit_status = 1

    def __str__(self) -> str:
        """Return the message as one line that a terminal can show, whatever names it quotes."""
        return printable(super().__str__())


class InputError(EmbeddedVitError):
    """The input is not usable."""

    exit_status = 2


class FileFormatError(InputError):
    """A file is unreadable, truncated, damaged or of another kind than expected."""


class DataSetError(InputError):
    """A folder is not a data set that can be used."""


class ConfigError(InputError):
    """An option is unknown or out of range."""


class NetworkError(InputError):
    """Shapes, sizes or tensors do not fit the network."""


class CheckpointError(InputError):
    """A run folder or a checkpoint cannot be loaded."""


class OutputError(InputError):
    """The result cannot be written: it already exists, or the disk is full."""


class ContractError(EmbeddedVitError):
    """Refused: the input is outside the contract of the model file."""

    exit_status = 3


class GateError(EmbeddedVitError):
    """A compression step costs more accuracy than the gate allows; the last network that passed is kept."""

    exit_status = 4


class TrainingError(EmbeddedVitError):
    """Training cannot go on, for example because the loss is not finite."""

    exit_status = 1


def missing_extra(what: str, extra: str) -> str:
    """Return the sentence that tells how to install a library which an optional part of the package needs.

    Args:
        what: The library, as the user knows it, for example LiteRT.
        extra: One of the optional dependencies in pyproject.toml.
    """
    return f"{what} is not installed; install it with: pip install 'embedded-vit[{extra}]'"
