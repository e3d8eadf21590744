"""Put into built-in models what their masks look like, from their training masks; graph and weights stay.

    python -m factory.plausible_masks NAME [NAME ...] --data DATA

The ranges come from the true masks of all patients that the model was trained on, and from the masks that the model
gives for their scans: both are plausible. Where the table says so, phantoms are among the cases too, because a network
that learned from 14 patients is less sure on other scanners, and phantoms are the only others here. Where the data
store no spacing, every mask counts twice, with the smallest and with the largest voxels of the data set.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from embedded_vit.artifact.manifest import Manifest, hashed_names, read_artifact, sealed
from embedded_vit.builtin import index
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import DataSet
from embedded_vit.datasets.phantom import PhantomSettings, make_phantom
from embedded_vit.engines import load
from embedded_vit.errors import ConfigError, EmbeddedVitError
from embedded_vit.export.plausible_masks import figures_of_case
from embedded_vit.io.atomic import atomic_path
from embedded_vit.mask_figures import MaskFigures
from embedded_vit.plausibility import Plausibility, find_plausibility
from embedded_vit.volume import LabelMap, Volume
from factory import table
from factory.table import Training

__all__ = ["add_plausibility"]

PHANTOMS = PhantomSettings(size=128, slices=40)
SEED = 500  # benchmarks/plausibility.py has another


def add_plausibility(name: str, data_set: DataSet, training: Training) -> Plausibility | None:
    """Measure what a built-in model's masks look like, and write it into the model's manifest.

    Args:
        name: The built-in model.
        data_set: What it was trained on.
        training: Its entry in the table.

    Returns:
        What was written; None, and nothing is changed, where the data set has too few of the model's patients.
    """
    path = index.artifact_path(name)
    content, manifest = read_artifact(path)
    engine = load(path, threads=1)
    masks: list[MaskFigures] = []
    cases = 0
    for volume, labels in _cases(data_set, manifest, training):
        cases += 1
        for figures in figures_of_case(volume, labels, manifest.contract, engine):
            masks += _in_ml(figures, training)
    found = find_plausibility(masks, manifest.labels, cases=cases)
    if found is not None:
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_bytes(sealed(content, manifest.model_copy(update={"plausibility": found})))
    return found


def _cases(data_set: DataSet, manifest: Manifest, training: Training) -> Iterator[tuple[Volume, LabelMap]]:
    """Yield the scans and masks of a model's patients, then of phantoms."""
    trained_on = set(manifest.split["train"])
    for case in data_set.cases:
        if set(hashed_names((case.name,))) <= trained_on:
            yield data_set.read_case(case)
    for number in range(training.phantoms):
        yield make_phantom(number, seed=SEED, settings=PHANTOMS)


def _in_ml(figures: MaskFigures, training: Training) -> Iterator[MaskFigures]:
    """Yield a mask with its volumes in ml, twice where only the range of the voxels is known."""
    if figures.in_ml or training.voxel_ml is None:
        yield figures
        return
    for voxel_ml in training.voxel_ml:
        structures = {
            number: replace(structure, volume=structure.volume * voxel_ml)
            for number, structure in figures.structures.items()
        }
        yield replace(figures, structures=structures, in_ml=True, height_mm=training.height_mm)


def main() -> None:
    """Renew the models that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m factory.plausible_masks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", choices=table.MODELS, metavar="NAME", help=", ".join(table.MODELS))
    parser.add_argument("--data", type=Path, required=True, help="what the models were trained on")
    arguments = parser.parse_args()
    data_set = open_data_set(arguments.data)
    for name in arguments.names:
        if add_plausibility(name, data_set, table.TRAININGS[table.MODELS[name].training]) is None:
            raise ConfigError(f"{arguments.data}: too few patients of {name} are in it; give the data of its training")
        print(f"{index.artifact_path(name)}: says what its masks look like")


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"factory.plausible_masks: {error}")
