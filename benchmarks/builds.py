"""Say what `embedded-vit build` made of data sets: one row a build, from the files that it left.

    embedded-vit build --data DATA --output OUT --minutes 40
    python benchmarks/builds.py OUT [OUT ...] [--confusions]

Dice is the mean over structures on held-out patients, with its 95 % bootstrap interval; regions follow the structures.
`--confusions` segments the held-out cases again and prints, for each build, what the voxels of each structure were
taken for: right for left, for example.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from footnote import footnote
from numpy.typing import NDArray

from embedded_vit.artifact.manifest import Manifest, read_artifact
from embedded_vit.build.record import BuildRecord, read_build_record
from embedded_vit.errors import CheckpointError
from embedded_vit.evaluation.evaluating import METRICS_FILE, score_model
from embedded_vit.evaluation.known_parts import without_ignored
from embedded_vit.io.json_file import read_json_object
from embedded_vit.volume import LabelMap, Volume

HEADER = ("Model", "Held-out cases", "Minutes", "Dice", "Structures", "File")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builds", type=Path, nargs="+", metavar="OUT", help="what --output of a finished build was")
    parser.add_argument("--confusions", action="store_true", help="what each structure was taken for")
    arguments = parser.parse_args(words)
    print(table(HEADER, [row(folder) for folder in arguments.builds]))
    if arguments.confusions:
        for folder in arguments.builds:
            _, manifest = read_artifact(folder / "model.onnx")
            names = ("background", *manifest.labels.names)
            print(f"\n{manifest.name}, % of the voxels of each structure\n")
            print(table(("Voxels of", *(f"as {name}" for name in names)), confusion_rows(confusions(folder), names)))
    print(f"\n{footnote()}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def row(folder: Path) -> tuple[str, ...]:
    """Return what a finished build came to.

    Raises:
        CheckpointError: There is no build, or it is not finished.
    """
    record, manifest = _finished(folder)
    metrics = read_json_object(folder / "evaluation" / METRICS_FILE, CheckpointError)
    interval = metrics["mean_interval_95"]["dice"]  # None for a single case
    parts = [
        *metrics["organs"].items(),
        *((f"region {name}", each) for name, each in metrics.get("regions", {}).items()),
    ]
    structures = ", ".join(f"{name} {values['dice']:.3f}" for name, values in parts)
    return (
        f"{manifest.name}, {manifest.preprocessing.image_size} pixels",
        str(metrics["counts"]["cases"]),
        f"{record.elapsed / 60:.0f}",
        f"{metrics['mean']['dice']:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""),
        structures,
        f"{(folder / 'model.onnx').stat().st_size / 1e6:.2f} MB",
    )


def confusions(folder: Path) -> NDArray[np.int64]:
    """Segment the held-out cases of a build and count voxels: (label in the truth, label predicted)."""
    record, manifest = _finished(folder)
    labels = 1 + len(manifest.labels.names)
    counts = np.zeros((labels, labels), dtype=np.int64)

    def count(_name: str, _volume: Volume, truth: LabelMap, prediction: LabelMap) -> None:
        truly, predicted = (mask.array.astype(np.int64) for mask in without_ignored(truth, prediction))
        counts[:] += np.bincount((truly * labels + predicted).ravel(), minlength=labels**2).reshape(labels, labels)

    score_model(folder / "model.onnx", record.data_folder, on_case=count, bars=False)
    return counts


def confusion_rows(counts: NDArray[np.int64], names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return a row for each structure: its share, in percent, under each predicted label."""
    shares = 100 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    return [(name, *(f"{share:.2f}" for share in shares[label])) for label, name in enumerate(names) if label]


def _finished(folder: Path) -> tuple[BuildRecord, Manifest]:
    record = read_build_record(folder)
    if record is None or "score" not in record.seconds:
        raise CheckpointError(f"{folder}: no finished build; give the --output of `embedded-vit build`")
    _, manifest = read_artifact(folder / "model.onnx")
    return record, manifest


if __name__ == "__main__":
    main()
