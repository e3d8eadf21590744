"""Arrays in NumPy's own format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedded_vit.io.atomic import atomic_path

__all__ = ["write_array"]


def write_array(folder: Path, name: str, array: NDArray[np.generic]) -> None:
    """Write an array as NAME.npy of a folder, whole or not at all.

    Raises:
        OutputError: The file exists or cannot be written.
    """
    with atomic_path(folder / f"{name}.npy") as temporary, open(temporary, "wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)
