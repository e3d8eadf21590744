"""The experiments of a training: which cases train and which test."""

from __future__ import annotations

from embedded_vit.datasets.data_set import DataSet, Split, make_folds, make_split
from factory.table import Training

__all__ = ["ALL", "SPLIT", "experiments_of"]

SPLIT, ALL = "split", "all"


def experiments_of(data_set: DataSet, training: Training) -> dict[str, Split]:
    """Return every experiment of a training by name.

    No case selects, because the last weights are kept.

    Args:
        data_set: The cases.
        training: Its seed, number of seeds and number of folds.
    """
    seed = int(training.settings["seed"])
    everyone = tuple(case.name for case in data_set.cases)
    splits = {SPLIT: make_split(data_set, seed=seed, validation_cases=0)}
    for number in range(1, training.seeds):
        splits[f"{SPLIT}-{number}"] = make_split(data_set, seed=seed + number, validation_cases=0)
    for number, fold in enumerate(make_folds(data_set, count=training.folds, seed=seed), start=1):
        splits[f"fold-{number}"] = fold
    splits[ALL] = Split(seed=seed, train=everyone, validation=(), test=())
    return splits
