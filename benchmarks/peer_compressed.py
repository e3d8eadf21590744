"""Add a compressed network to a comparison: test the file that was made from a finished cell as a cell of its own.

    embedded-vit compress runs/ct/unet-16@64-modern-120passes-fold0of5-seed0 --plan PLAN --output SMALL
    python benchmarks/peer_compressed.py CELL FILE --name unet-16-pruned@64 --data DATA

CELL is the run folder of the finished cell, FILE the model file that was made from it. The new cell lies beside CELL,
has its split, seed and length, and is tested on the same patients. It is one of ours if CELL is.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

from peer_cells import ARTIFACT, CELL, EVALUATION, Cell, read_cell

from embedded_vit.artifact.manifest import hashed_names, read_artifact
from embedded_vit.errors import ConfigError, EmbeddedVitError
from embedded_vit.evaluation.evaluating import evaluate_once
from embedded_vit.io.atomic import atomic_path, write_text

__all__ = ["add_compressed"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cell", type=Path, metavar="CELL")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--name", required=True, metavar="NAME@S", help="of the compressed network in the tables")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, help="threads for scoring; by default all cores")
    arguments = parser.parse_args()
    print(add_compressed(arguments.cell, arguments.file, arguments.name, arguments.data, threads=arguments.threads))


def add_compressed(source: Path, file: Path, name: str, data_folder: Path, *, threads: int | None = None) -> Path:
    """Test a model file as a cell beside the one that it was made from, and return its folder.

    Args:
        source: The finished cell.
        file: The model file.
        name: NAME@S, new in this comparison.
        data_folder: The data set of the comparison.
        threads: For scoring.

    Raises:
        ConfigError: The name has no image size or is that of the cell, or the file has other test cases than the cell.
        FileFormatError: The file is not a model file.
    """
    cell = read_cell(source)
    _, manifest = read_artifact(file)
    if re.fullmatch(r"[\w.-]+@\d+", name) is None or name == cell.network:
        raise ConfigError(f"--name {name}: expected a new name with the image size, for example {_suggested(cell)}")
    if set(manifest.split["test"]) != set(hashed_names(tuple(cell.patients))):
        raise ConfigError(
            f"{file}: was not made from {source}: its test cases are others; give the cell it was made from"
        )
    folder = source.parent / source.name.replace(cell.network, name, 1)
    with atomic_path(folder / ARTIFACT, overwrite=True) as temporary:
        shutil.copyfile(file, temporary)
    evaluate_once(folder / ARTIFACT, data_folder, folder / EVALUATION, threads=threads)
    write_text(folder / CELL, cell.model_copy(update={"network": name}).model_dump_json(indent=1), overwrite=True)
    return folder


def _suggested(cell: Cell) -> str:
    network, _, size = cell.network.rpartition("@")
    return f"{network}-pruned@{size}"


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"peer_compressed.py: {error}")
