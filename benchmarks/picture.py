"""Draw slices of held-out cases, their truth, and a network's prediction; with phantoms the README's picture.

python benchmarks/picture.py runs/demo/model.onnx runs/demo/phantom docs/demo.png
python benchmarks/picture.py OUT/model.onnx BRATS brats.png FLAIR

The last word is the channel to show, by default the first. Three cases at most, from those that the layout sets apart
for tests, else from those that the model never saw.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Patch

from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import Case, DataSet
from embedded_vit.evaluation.evaluated_model import open_model
from embedded_vit.evaluation.pictures import slice_dice
from embedded_vit.overlay import overlay
from embedded_vit.predict.predictor import Predictor
from embedded_vit.preprocessing import Intensities


def main() -> None:
    model, data, picture = (Path(argument) for argument in sys.argv[1:4])
    predictor, data_set = Predictor.load(model), open_data_set(data)
    labels, preprocessing = data_set.labels, predictor.manifest.preprocessing
    channel = preprocessing.channels.index(sys.argv[4]) if len(sys.argv) > 4 else 0
    cases = held_out(model, data_set)
    size = (3.2 * len(cases), 5.0)
    figure, axes = plt.subplots(2, len(cases), figsize=size, layout="constrained", facecolor="black", squeeze=False)
    for column, case in enumerate(cases):
        volume, truth = data_set.read_case(case)
        truth = truth.reoriented()
        predicted = predictor.predict(volume).mask.reoriented()
        upright = volume.reoriented()
        dice, shown = slice_dice(predicted.array, truth.array, len(labels.labels))
        full = np.flatnonzero(shown == shown.max())
        index = int(full[np.argsort(dice[full])[len(full) // 2]])  # the median of the slices that show most
        grey = Intensities.of(volume, preprocessing).normalise(upright.intensities(index))[channel].T
        body = np.ix_(*(np.flatnonzero((grey > 0.1).sum(axis=axis) > 5) for axis in (1, 0)))
        for row, (name, mask) in enumerate((("truth", truth), ("prediction", predicted))):
            picture_of_slice = overlay((grey * 255).astype(np.uint8), mask.array[index].T, labels)
            axes[row, column].imshow(picture_of_slice[body])
            title = name if row == 0 else f"{name}, Dice {dice[index]:.2f}"
            axes[row, column].set_title(title, color="white", fontsize=9)
            axes[row, column].axis("off")
    patches = [Patch(color=label.colour, label=label.name) for label in labels.labels]
    figure.legend(handles=patches, loc="outside lower center", ncols=8, frameon=False, labelcolor="white", fontsize=8)
    figure.savefig(picture, dpi=110, facecolor="black")
    print(picture)


def held_out(model: Path, data_set: DataSet) -> list[Case]:
    """Return up to three cases that tested the model."""
    apart = [case for case in data_set.cases if case.reserved_for_test]
    chosen = open_model(model, threads=1).choose(data_set, "test").cases
    return (apart or [case for case, _ in chosen])[:3]


if __name__ == "__main__":
    main()
