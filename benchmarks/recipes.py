"""The gain of one change of the training recipe, by cross-validation, paired by patient.

    python benchmarks/recipes.py --data DATA --output FOLDER [--changes none no-cutmix ...] [--folds 2] [--epochs 90]

`CHANGES` below lists the changes; each is compared with the first one chosen. The trainings of a change and a fold are
in FOLDER/CHANGE/fold-N, their slices in FOLDER/slices. A training that was killed is resumed, a complete one is read,
and several processes may share a FOLDER if their changes differ. With few folds there are few training patients, and
recipes differ most. Protocol `strict`, last weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from footnote import footnote
from paired_patients import Dice, dice_by_patient, paired_table

from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import DataSet, make_folds
from embedded_vit.errors import EmbeddedVitError
from embedded_vit.evaluation.evaluating import evaluate_once
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.training import train_once

CHANGES: dict[str, dict[str, Any]] = {
    "none": {},
    "no-cutmix": {"cutmix": 0.0},
    "cutmix-always": {"cutmix": 1.0},
    "all-empty-slices": {"empty_slice_weight": 1.0},
    "learning-rate-x2": {"learning_rate": 4e-3},
    "weight-decay-x5": {"weight_decay": 0.1},
    "paper": {"recipe": "paper"},
}
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="where trainings and tests go")
    parser.add_argument("--changes", nargs="+", choices=CHANGES, metavar="CHANGE", default=list(CHANGES))
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=90)
    parser.add_argument("--network", default="embedded-vit-64")
    parser.add_argument("--context-slices", type=int, choices=(1, 3), default=3)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    data_set = open_data_set(arguments.data)
    scores = {change: cross_validated(data_set, change, arguments) for change in arguments.changes}
    print(footnote())
    print(f"{arguments.network}, {arguments.folds} folds, {arguments.epochs} epochs, {arguments.precision}\n")
    print("\n".join(paired_table(scores, data_set.labels.names)))


def cross_validated(data_set: DataSet, change: str, arguments: argparse.Namespace) -> Dice:
    """Train and test every fold."""
    settings = {"recipe": "modern", "epochs": arguments.epochs, "precision": arguments.precision, "seed": SEED}
    asked: dict[str, Any] = {
        "network": arguments.network,
        "architecture": {},
        "training": TrainingConfig.for_recipe(**settings | CHANGES[change]),
        "context_slices": arguments.context_slices,
    }
    tested = []
    for number, split in enumerate(make_folds(data_set, count=arguments.folds, seed=SEED), start=1):
        print(f"{change}, fold {number}", file=sys.stderr, flush=True)
        folder = arguments.output / change / f"fold-{number}"
        slices = arguments.output / "slices" / f"{asked['training'].recipe}-{number}"  # recipes resize differently
        train_once(data_set, folder / "run", split, asked, slices_folder=slices, threads=arguments.threads)
        evaluate_once(folder / "run", data_set.folder, folder / "evaluation", threads=arguments.threads)
        tested.append(folder / "evaluation")
    return dice_by_patient(tested, data_set.labels.names)


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"recipes.py: {error}")
