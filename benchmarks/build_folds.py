"""Build a model in every fold of a cross-validation by patient: what `embedded-vit build` alone reaches on a data set.

    python benchmarks/build_folds.py DATA --output FOLDER [--folds 5] [--minutes 60] [--patient PATTERN] [--threads N]

DATA is an nnU-Net data set. FOLDER gets, for each fold, the data set with other test cases (as links) and the build;
a run that was stopped goes on with the same command. Prints Dice by structure over the held-out patients of all folds,
with a bootstrap over patients: both phases of a heart are one patient.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from builds import table
from footnote import footnote
from paired_patients import dice_by_case, structures_of
from peer_table import estimate_text

from embedded_vit.build.building import build
from embedded_vit.datasets.data_set import DataSet, Split, make_folds
from embedded_vit.datasets.description import DESCRIPTION_FILE
from embedded_vit.datasets.layouts import open_data_set
from embedded_vit.errors import ConfigError, EmbeddedVitError
from embedded_vit.evaluation.statistics import Estimate, summarise

SEED = 0  # deals the patients to the folds


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=60, help="of each build")
    parser.add_argument("--patient", help="pattern of the cases' names; what it matches is the patient")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args(words)
    data_set = open_data_set(arguments.data, patient=arguments.patient)
    folds = make_folds(data_set, count=arguments.folds, seed=SEED)
    evaluations = []
    for number, split in enumerate(folds):
        fold = arguments.output / f"fold{number}of{len(folds)}"
        link_fold(data_set, split, fold / "data")
        build(fold / "data", fold / "build", minutes=arguments.minutes, patient=arguments.patient,
              threads=arguments.threads)  # fmt: skip
        evaluations.append(fold / "build" / "evaluation")
        print(f"{fold.name}: built", flush=True)
    print(fold_table(data_set, evaluations))
    print(f"\n{arguments.folds} folds, {arguments.minutes:g} minutes a build. {footnote()}")


def link_fold(data_set: DataSet, split: Split, folder: Path) -> None:
    """Make an nnU-Net data set of links to the files of another one, in which the fold's test cases are the test cases.

    Raises:
        ConfigError: The data set is of another layout.
    """
    if not data_set.layout.startswith("nnU-Net"):
        raise ConfigError(f"{data_set.folder}: {data_set.layout}; folds are made of nnU-Net data sets")
    for case in data_set.cases:
        subset = "Ts" if case.name in split.test else "Tr"
        for file in data_set.files_of(case):
            link(file, folder / f"{file.parent.name[:-2]}{subset}" / file.name)  # imagesTr, labelsTs, ...
    link(data_set.folder / DESCRIPTION_FILE, folder / DESCRIPTION_FILE)


def link(file: Path, place: Path) -> None:
    """Link a file into a folder, which is made; a link that is there stays."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        place.symlink_to(file.resolve())


def fold_table(data_set: DataSet, evaluations: Sequence[Path]) -> str:
    """Return a table of Dice: one column per structure, over the test cases of all evaluations."""
    structures = structures_of(evaluations)
    scores = dice_by_case(evaluations, structures)
    patients = [data_set.case(name).patient for name in scores]
    summary = summarise(np.stack(list(scores.values())), patients)
    header = ("Patients", "Scans", "Dice", *structures)
    means = [estimate_text(Estimate(organ.mean, None, None)) for organ in summary.organs]
    return table(header, [(str(len(set(patients))), str(len(scores)), estimate_text(summary.overall), *means)])


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"build_folds.py: {error}")
