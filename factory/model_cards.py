"""Write docs/models/NAME.md for every built-in model, or draw failures on your own copy of the data.

    python -m factory.model_cards
    python -m factory.model_cards NAME --pictures DIR --data DATA --experiments FOLDER

A card is made from the package alone: the artifact's manifest and NAME.json, which holds the figures of
`factory.builtin_models`. Pictures show patients, so they are written only outside of this project. They need the
FOLDER of `factory.builtin_models`, because the shipped networks have seen every patient and those of the experiments
have not.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

from embedded_vit.artifact.manifest import Manifest
from embedded_vit.builtin.card import card
from embedded_vit.builtin.index import builtin_model, builtin_models
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import DataSet
from embedded_vit.engines import load
from embedded_vit.errors import ConfigError, EmbeddedVitError
from embedded_vit.evaluation.evaluating import METRICS_FILE
from embedded_vit.io.atomic import atomic_path, write_text
from embedded_vit.overlay import overlay
from embedded_vit.predict.segmentation import segment
from embedded_vit.preprocessing import Intensities
from embedded_vit.volume import LabelMap, Volume

REPOSITORY = Path(__file__).resolve().parents[1]
CARDS = REPOSITORY / "docs" / "models"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m factory.model_cards", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="outside of this project")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--experiments", type=Path, metavar="FOLDER", help="--output of factory.builtin_models")
    arguments = parser.parse_args()
    if arguments.pictures is None:
        for model in builtin_models():
            write_text(CARDS / f"{model.name}.md", card(model), overwrite=True)
            print(CARDS / f"{model.name}.md")
    elif None in (arguments.name, arguments.data, arguments.experiments):
        parser.error("--pictures needs NAME, --data and --experiments")
    else:
        draw_failures(arguments.name, arguments.pictures, arguments.data, arguments.experiments)


def draw_failures(name: str, pictures: Path, data: Path, experiments: Path) -> None:
    """Draw the worst structures of single patients: scan, truth and mask side by side, in the slice that errs most.

    Raises:
        ConfigError: `pictures` lies in this project, or no experiment tested a patient that the card names.
    """
    if pictures.resolve().is_relative_to(REPOSITORY):
        raise ConfigError(f"--pictures {pictures}: they show patients; choose a folder outside of {REPOSITORY}")
    data_set = open_data_set(data)
    failures = builtin_model(name).facts.figures[0].failures
    for patient in dict.fromkeys(failure.patient for failure in failures):
        volume, truth, mask, manifest = segmented(data_set, patient, tested_file(name, experiments, patient))
        for failure in failures:
            if failure.patient == patient:
                label = manifest.labels.names.index(failure.organ) + 1
                picture = worst_slice(volume, truth, mask, label, manifest)
                path = pictures / f"{name}-{patient}-{failure.organ.replace(' ', '-')}.png"
                with atomic_path(path, overwrite=True) as temporary:
                    imsave(temporary, picture)
                print(f"{path}: {failure.kind}, Dice {failure.dice:.2f}")


def tested_file(name: str, experiments: Path, patient: str) -> Path:
    """Return the exported file of the experiment that tested a patient, preferably a fold of the cross-validation.

    Raises:
        ConfigError: No experiment tested this patient.
    """
    for path in sorted(experiments.glob(f"*/*/{name}/evaluation/{METRICS_FILE}")):
        if patient in json.loads(path.read_text(encoding="utf-8"))["cases"]:
            return path.parents[1] / "model.onnx"
    raise ConfigError(
        f"{experiments}: no experiment of {name} tested {patient}; give the --output of factory.builtin_models"
    )


def segmented(data_set: DataSet, patient: str, artifact: Path) -> tuple[Volume, LabelMap, LabelMap, Manifest]:
    """Return a patient's scan, true mask and predicted mask in training orientation, and the model's manifest."""
    engine = load(artifact)
    manifest = engine.manifest
    preprocessing, case = manifest.preprocessing, data_set.case(patient)
    volume, truth = data_set.read_case(case)
    mask = segment(volume, manifest.contract, engine)
    orientation = preprocessing.orientation
    return volume.reoriented(orientation), truth.reoriented(orientation), mask.reoriented(orientation), manifest


def worst_slice(volume: Volume, truth: LabelMap, mask: LabelMap, label: int, manifest: Manifest) -> NDArray[np.uint8]:
    """Draw the slice with most wrong voxels of a structure: scan, truth and mask, (height, 3 width, 3) uint8."""
    wrong = (truth.array == label) != (mask.array == label)  # (slices, rows, columns)
    index = int(wrong.sum(axis=(1, 2)).argmax())
    intensities = Intensities.of(volume, manifest.preprocessing).normalise(volume.intensities(index))[0]
    grey = np.rint(intensities.T * 255).astype(np.uint8)  # transposed: the patient's right on the left, anterior up
    nothing = np.zeros_like(truth.array[index])
    panels = [overlay(grey, labels.T, manifest.labels) for labels in (nothing, truth.array[index], mask.array[index])]
    return np.concatenate(panels, axis=1)


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"factory.model_cards: {error}")
