"""Temporary files as processes that were killed leave them."""

from __future__ import annotations

import os
from pathlib import Path

from embedded_vit.io.atomic import temporary_beside

NOBODY = 0xFFFFFE  # no process has this number


def left_by(process: int, path: Path) -> Path:
    """Return the temporary name that a process of this computer has for a file that it is writing."""
    own = temporary_beside(path)
    return own.with_name(own.name.replace(f".{os.getpid():06x}", f".{process:06x}", 1))
