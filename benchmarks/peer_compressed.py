"""Add a compressed network to a comparison: test the file that was made from a finished cell as a cell of its own.

    embedded-vit compress runs/ct/unet-16@64-modern-120passes-fold0of5-seed0 --plan PLAN --output SMALL
    python benchmarks/peer_compressed.py CELL FILE --name unet-16-pruned@64 --data DATA

CELL is the run folder of the finished cell, FILE the model file that was made from it. The new cell lies beside CELL,
has its split, seed and length, and is tested on the same patients. It is one of ours if CELL is.

peers.py does the two commands in one: `--networks unet-32,latency=0.4@64` trains the network, prunes it to 0.4 of its
latency, and tests what is left.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

from peer_cells import ARTIFACT, CELL, EVALUATION, Cell, finish_cell, read_cell
from peer_training import Comparison, PeerTraining

from embedded_vit.artifact.manifest import hashed_names, read_artifact
from embedded_vit.compression import CompressionPlan, compress
from embedded_vit.compression.compressing import PLAN
from embedded_vit.errors import ConfigError, EmbeddedVitError
from embedded_vit.evaluation.evaluating import evaluate_once
from embedded_vit.io.atomic import atomic_path, write_text
from embedded_vit.training.checkpoint import RECORD, read_record

__all__ = ["add_compressed", "finish_pruned_cell"]

ROUNDS = 3
PRUNING_PASSES = 0.5  # of the passes of the whole network's training


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
    if re.fullmatch(r"[\w.,=-]+@\d+", name) is None or name == cell.network:
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


def finish_pruned_cell(
    peer: PeerTraining, comparison: Comparison, *, split_name: str, length: str, threads: int
) -> Cell:
    """Train a network, prune it to a fraction of its latency on this machine, and test what is left.

    Pruning trains for half as many passes again; the cell counts them. What was killed goes on.

    Args:
        peer: The network, with a fraction of its latency.
        comparison, split_name, length, threads: As `peer_cells.finish_cell` takes them.

    Raises:
        As `finish_cell` and `compress`.
    """
    whole = finish_cell(peer.whole, comparison, split_name=split_name, length=length, threads=threads)
    source, folder, data_folder = comparison.run_of(peer.whole), comparison.run_of(peer), comparison.data_set.folder
    if (folder / CELL).is_file():
        return read_cell(folder)
    epochs = max(ROUNDS, round(PRUNING_PASSES * whole.passes))
    pruning = {"target_latency": peer.latency_left, "nearest": True, "rounds": ROUNDS, "epochs": epochs}
    plan = CompressionPlan.from_plain({"steps": [{"prune_channels": pruning}]}, source="peers.py")
    small = folder / "compression"
    compress(source, plan, small, data_folder=data_folder, resume=(small / PLAN).is_file(), threads=threads)
    add_compressed(source, small / ARTIFACT, peer.network_at_size, data_folder, threads=threads)
    rounds = [path.parent for path in small.glob(f"steps/*/*/round-*/{RECORD}")]
    seconds = sum(epoch.seconds for run in rounds for epoch in read_record(run).epochs)
    spent = {"passes": whole.passes + epochs, "minutes": whole.minutes + seconds / 60}
    cell = read_cell(folder).model_copy(update=spent)
    write_text(folder / CELL, cell.model_dump_json(indent=1), overwrite=True)
    return cell


def _suggested(cell: Cell) -> str:
    network, _, size = cell.network.rpartition("@")
    return f"{network}-pruned@{size}"


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"peer_compressed.py: {error}")
