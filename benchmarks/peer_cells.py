"""The cells of a comparison: one network, trained once, on one split and seed, with the Dice of its patients.

A cell is a run folder with `cell.json`, which is written when the cell is finished.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from paired_patients import dice_by_patient, mean_of_known, structures_of
from peer_training import Comparison, PeerTraining, train_once

from embedded_vit.config import Config
from embedded_vit.datasets.data_set import Case, DataSet, Split, make_folds, make_split
from embedded_vit.errors import ConfigError, DataSetError
from embedded_vit.evaluation.evaluating import METRICS_FILE, evaluate_once
from embedded_vit.export.exporting import export
from embedded_vit.io.atomic import write_text
from embedded_vit.io.json_file import read_json_object
from embedded_vit.training.checkpoint import read_record

__all__ = [
    "ARTIFACT",
    "CELL",
    "EVALUATION",
    "Cell",
    "Entry",
    "entries_of",
    "finish_cell",
    "named_splits",
    "read_cell",
    "read_cells",
    "with_patients",
]

CELL, ARTIFACT, EVALUATION = "cell.json", "model.onnx", "evaluation"
FOLDS_SEED = 0  # deals the patients to the folds; the seeds of trainings share the folds


class Cell(Config):
    """What a cell is, and whom it tested."""

    data: str
    network: str
    ours: bool
    recipe: str
    split: str
    seed: int
    length: str
    passes: float
    minutes: float
    patients: dict[str, str]  # tested case -> its patient


@dataclass(frozen=True)
class Entry:
    """A row of the tables: all cells of one network, recipe and length.

    Attributes:
        network: With its image size, and with its recipe unless that is ours.
        at_size: The network with its image size, as latency is known by.
        ours: Whether it is one of ours.
        length: How long each of its trainings lasted.
        passes, minutes: Of its trainings, the mean.
        dice: (patient, seed) -> Dice of each structure, the mean over the patient's cases; NaN where excluded.
    """

    network: str
    at_size: str
    ours: bool
    length: str
    passes: float
    minutes: float
    dice: Mapping[tuple[str, int], NDArray[np.float64]]

    def by_patient(self, pairs: frozenset[tuple[str, int]]) -> NDArray[np.float64]:
        """Average over seeds: (patients, structures) in the order of the patients' names, of these pairs alone."""
        found: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
        for patient, seed in sorted(pairs):
            found[patient].append(self.dice[patient, seed])
        return np.stack([mean_of_known(values) for values in found.values()])


def with_patients(data_set: DataSet, pattern: str | None) -> DataSet:
    """Return the data set with the patients that a regular expression finds in the names of its cases.

    Args:
        data_set: Any data set.
        pattern: Its first group is the patient, or the whole match if it has no group; None leaves the patients as
            they are.

    Raises:
        ConfigError: It is no regular expression, or it is not found in a name.
    """
    if pattern is None:
        return data_set
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--patient-pattern {pattern}: not a regular expression: {error}") from error
    return replace(data_set, cases=tuple(_with_patient(case, expression) for case in data_set.cases))


def _with_patient(case: Case, expression: re.Pattern[str]) -> Case:
    found = expression.search(case.name)
    if found is None:
        raise ConfigError(f"--patient-pattern {expression.pattern}: does not match the case '{case.name}'")
    return replace(case, patient=found[1] if expression.groups else found[0])


def named_splits(
    data_set: DataSet, *, folds: int | None, chosen: Sequence[int] | None, test_last: int | None
) -> dict[str, Split]:
    """Return name -> split of the splits that are asked for; without folds and last patients, the layout's own.

    Args:
        data_set: Its patients stay together.
        folds: How many folds; their patients are dealt in the same order whatever the seed of a training.
        chosen: Which of the folds, from 0; None for all.
        test_last: So many patients, the last in sorted order, are tested.

    Raises:
        ConfigError: There is no such fold.
        DataSetError: No patient would be left for training or for testing.
    """
    patients = sorted({case.patient for case in data_set.cases})
    if test_last is not None:
        if not 0 < test_last < len(patients):
            raise DataSetError(
                f"--test-last {test_last}: expected 1 to {len(patients) - 1} of {len(patients)} patients"
            )
        tested = set(patients[-test_last:])
        test = tuple(case.name for case in data_set.cases if case.patient in tested)
        train = tuple(case.name for case in data_set.cases if case.patient not in tested)
        return {f"last{test_last}": Split(seed=FOLDS_SEED, train=train, validation=(), test=test)}
    if folds is None:
        return {"own": make_split(data_set, seed=FOLDS_SEED, validation_cases=0)}
    if not 2 <= folds <= len(patients):
        raise DataSetError(f"--folds {folds}: expected 2 to {len(patients)}, the number of patients")
    chosen = range(folds) if chosen is None else chosen
    if unknown := [fold for fold in chosen if not 0 <= fold < folds]:
        raise ConfigError(f"--fold {unknown[0]}: expected 0 to {folds - 1} with --folds {folds}")
    splits = make_folds(data_set, count=folds, seed=FOLDS_SEED)
    return {f"fold{fold}of{folds}": splits[fold] for fold in chosen}


def finish_cell(peer: PeerTraining, comparison: Comparison, *, split_name: str, length: str, threads: int) -> Cell:
    """Train, export and test one network on one split, unless that is done already.

    Raises:
        ConfigError: The cell's folder holds a run with other settings or data.
        TrainingError: The loss is not finite.
        ContractError, NetworkError: The export does not compute the same, or there is none.
    """
    run, schedule = train_once(peer, comparison)
    folder = comparison.data_set.folder
    if not (run / ARTIFACT).is_file():
        export(run, run / ARTIFACT, data_folder=folder)
    evaluate_once(run / ARTIFACT, folder, run / EVALUATION, threads=threads)
    patient_of = {case.name: case.patient for case in comparison.data_set.cases}
    cell = Cell(
        data=comparison.data_set.name,
        network=peer.network_at_size,
        ours=peer.is_ours,
        recipe=peer.recipe,
        split=split_name,
        seed=comparison.seed,
        length=length,
        passes=schedule.passes,
        minutes=sum(epoch.seconds for epoch in read_record(run).epochs) / 60,
        patients={name: patient_of[name] for name in comparison.split.test},
    )
    write_text(run / CELL, cell.model_dump_json(indent=1), overwrite=True)
    return cell


def read_cell(run: Path) -> Cell:
    """Read what a cell is.

    Raises:
        ConfigError: The folder is not a finished cell.
    """
    path = run / CELL
    return Cell.parse(read_json_object(path, ConfigError, hint="give the folder of a finished cell"), source=str(path))


def read_cells(output: Path) -> dict[Path, Cell]:
    """Return run folder -> cell of all finished cells of a comparison.

    Raises:
        ConfigError: A `cell.json` cannot be read.
    """
    found = {}
    for path in sorted(output.glob(f"*/{CELL}")):
        if (path.parent / EVALUATION / METRICS_FILE).is_file():
            found[path.parent] = read_cell(path.parent)
    return found


def entries_of(cells: Mapping[Path, Cell]) -> tuple[list[Entry], tuple[str, ...]]:
    """Join cells to entries, and return them with the names of the structures.

    Raises:
        ConfigError: The cells tested other structures, or one network tested a patient twice for a seed.
    """
    structures = structures_of(run / EVALUATION for run in cells)
    grouped: dict[tuple[str, str, str], dict[Path, Cell]] = defaultdict(dict)
    for run, cell in cells.items():
        grouped[cell.length, cell.network, cell.recipe][run] = cell
    entries = []
    for (length, network, recipe), of_one in grouped.items():
        dice: dict[tuple[str, int], NDArray[np.float64]] = {}
        for run, cell in of_one.items():
            for patient, values in dice_by_patient([run / EVALUATION], structures, cell.patients).items():
                if (patient, cell.seed) in dice:
                    raise ConfigError(
                        f"{run}: {patient} was tested twice with seed {cell.seed}: folds of several kinds lie in one "
                        "folder; choose another --output for each"
                    )
                dice[patient, cell.seed] = values
        entries.append(
            Entry(
                network=network if recipe == "modern" else f"{network}, {recipe}",
                at_size=network,
                ours=any(cell.ours for cell in of_one.values()),
                length=length,
                passes=float(np.mean([cell.passes for cell in of_one.values()])),
                minutes=float(np.mean([cell.minutes for cell in of_one.values()])),
                dice=dice,
            )
        )
    return entries, structures
