"""Dice of models on one scan of another scanner, against a mask with label numbers of its own.

    python benchmarks/another_scanner.py MODEL [MODEL ...] --scan SCAN --mask MASK --numbers "left kidney=3" liver=5 ...

One patient is no proof. The figures only show whether a model works on a scanner that it has never seen.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from footnote import footnote
from numpy.typing import NDArray

import embedded_vit
from embedded_vit.errors import ConfigError, EmbeddedVitError
from embedded_vit.io.nifti import read_labels
from embedded_vit.predict.predictor import Prediction


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="artifacts, or names of built-in models")
    parser.add_argument("--scan", type=Path, required=True)
    parser.add_argument("--mask", type=Path, required=True, help="on the scan's grid")
    parser.add_argument("--numbers", nargs="+", type=_number, required=True, metavar="STRUCTURE=NUMBER")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    numbers = dict(arguments.numbers)
    truth = read_labels(arguments.mask).array
    print(footnote())
    print(f"| model | mean | {' | '.join(numbers)} |\n|{'---|' * (len(numbers) + 2)}")
    for model in arguments.models:
        prediction = embedded_vit.load(model, threads=arguments.threads).predict(arguments.scan)
        dice = dice_of(prediction, truth, numbers)
        print(f"| {model} | {np.mean(dice):.3f} | {' | '.join(f'{value:.2f}' for value in dice)} |", flush=True)


def dice_of(prediction: Prediction, truth: NDArray[np.uint8], numbers: Mapping[str, int]) -> list[float]:
    """Return the Dice of each structure; 1 where a structure is in neither mask.

    Raises:
        ConfigError: The masks' grids differ, or the model does not know a structure.
    """
    if prediction.mask.shape != truth.shape:
        raise ConfigError(f"the mask has {truth.shape} voxels, the scan {prediction.mask.shape}")
    found = np.stack([prediction.mask.get(index) for index in range(len(truth))])
    known = {label.name: label.id for label in prediction.labels.labels}
    dice = []
    for name, number in numbers.items():
        if name not in known:
            raise ConfigError(f"{prediction.model} knows no '{name}'; it knows {', '.join(known)}")
        ours, theirs = found == known[name], truth == number
        total = ours.sum() + theirs.sum()
        dice.append(float(2 * (ours & theirs).sum() / total) if total else 1.0)
    return dice


def _number(text: str) -> tuple[str, int]:
    name, _, number = text.rpartition("=")
    return name, int(number)


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"another_scanner.py: {error}")
