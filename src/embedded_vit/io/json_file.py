"""Files that hold one JSON object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from embedded_vit.config import Config
from embedded_vit.errors import CheckpointError, InputError
from embedded_vit.io.atomic import write_text

__all__ = ["read_json_object", "read_record_file", "write_record_file"]

Record = TypeVar("Record", bound=Config)

MOST_BYTES = 1 << 24  # ours have some kilobytes; a larger file is another one


def read_json_object(path: Path, error: type[InputError], *, hint: str = "") -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Args:
        path: The file.
        error: What to raise.
        hint: The end of the message: what to do.

    Raises:
        error: The file is missing or cannot be read, has more than 16 MiB, or holds something else.
    """
    advice = f"; {hint}" if hint else ""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise error(f"{path}: {size:,} bytes, expected a JSON object of at most {MOST_BYTES:,}{advice}")
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # Windows programs begin with a mark
        json.dumps(content, ensure_ascii=False).encode()  # halves of characters could not be written anywhere
    except FileNotFoundError as problem:
        raise error(f"{path}: missing{advice}") from problem
    except OSError as problem:
        raise error(f"{path}: cannot read it: {problem.strerror or problem}{advice}") from problem
    except (ValueError, RecursionError) as problem:  # UnicodeDecodeError is a ValueError
        raise error(f"{path}: not valid JSON: {str(problem)[:100]}{advice}") from problem
    if not isinstance(content, dict):
        raise error(f"{path}: expected a JSON object, got {type(content).__name__}{advice}")
    return content


def read_record_file(path: Path, kind: type[Record], *, hint: str) -> Record:
    """Read a record of this package.

    Args:
        path: The file.
        kind: What it holds.
        hint: The end of a message: what to do.

    Raises:
        CheckpointError: The file is missing, or is not a JSON object.
        ConfigError: A key is unknown, or a value is not valid.
    """
    return kind.parse(read_json_object(path, CheckpointError, hint=hint), source=str(path))


def write_record_file(path: Path, record: Config) -> None:
    """Write a record atomically, in place of an older one.

    Raises:
        OutputError: The folder cannot be written or the disk is full.
    """
    write_text(path, record.model_dump_json(indent=1) + "\n", overwrite=True)
