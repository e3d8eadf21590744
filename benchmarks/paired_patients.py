"""Compare evaluations patient by patient: the gain of the second and every further one over the first.

    python benchmarks/paired_patients.py --of before A/fold-*/evaluation --of after B/fold-*/evaluation

Every `--of` is a name and the folders with the `metrics.json` of one cross-validation or of one test. All of them must
have the same patients. Prints the mean over structures of their means over patients, and a bootstrap over patients of
the paired differences.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.errors import ConfigError, EmbeddedVitError
from embedded_vit.evaluation.evaluating import METRICS_FILE
from embedded_vit.evaluation.statistics import summarise
from embedded_vit.io.json_file import read_json_object

__all__ = ["Dice", "dice_by_case", "dice_by_patient", "mean_of_known", "paired_table", "structures_of"]

Dice = Mapping[str, NDArray[np.float64]]  # (structures,) by name, NaN where a structure is in neither mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", nargs="+", action="append", required=True, metavar=("NAME", "FOLDER"))
    arguments = parser.parse_args()
    folders = {name: [Path(folder) for folder in given] for name, *given in arguments.of}
    organs = structures_of(folder for given in folders.values() for folder in given)
    print("\n".join(paired_table({name: dice_by_patient(given, organs) for name, given in folders.items()}, organs)))


def structures_of(evaluations: Iterable[Path]) -> tuple[str, ...]:
    """Return the structures that all evaluations score.

    Raises:
        ConfigError: The structures differ, or there is no evaluation.
    """
    found = {tuple(_read(folder)["organs"]) for folder in evaluations}
    if len(found) != 1:
        raise ConfigError("expected the folders of evaluations of the same structures")
    return found.pop()


def dice_by_case(evaluations: Iterable[Path], organs: Sequence[str]) -> Dice:
    """Return the Dice of all cases of several evaluations, in this order of structures."""
    return {name: _dice(case, organs) for name, case in _cases(evaluations)}


def dice_by_patient(
    evaluations: Iterable[Path], organs: Sequence[str], patient_of: Mapping[str, str] | None = None
) -> Dice:
    """Return the Dice of all patients of several evaluations, the mean over a patient's cases, by structure.

    Args:
        evaluations: Folders with a `metrics.json`.
        organs: The structures, in the order of the values.
        patient_of: Case -> its patient; by default what the evaluations say.
    """
    of_patient: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for name, case in _cases(evaluations):
        patient = patient_of[name] if patient_of is not None else case.get("patient", name)  # older files name none
        of_patient[patient].append(_dice(case, organs))
    return {patient: mean_of_known(dice) for patient, dice in of_patient.items()}


def mean_of_known(values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Average arrays element by element, NaN left out; NaN where all are."""
    stacked = np.stack(values)
    known = ~np.isnan(stacked)
    counts = known.sum(axis=0)
    return np.where(counts > 0, np.where(known, stacked, 0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def paired_table(scores: Mapping[str, Dice], organs: Sequence[str]) -> list[str]:
    """Return a row for each name: Dice, and its gain over the first name in points.

    Raises:
        ConfigError: The patients differ.
    """
    header = ("", "Dice", "gain, points [95 %]", "patients better", *organs)
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    first = next(iter(scores.values()))
    for name, by_patient in scores.items():
        if by_patient.keys() != first.keys():
            raise ConfigError(f"{name}: was not tested on the same patients as the first")
        values = np.stack([by_patient[patient] for patient in first])  # (patients, structures)
        gains = values - np.stack(list(first.values()))
        gain = summarise(gains)
        better = int((np.nanmean(gains, axis=1) > 0).sum())
        cells = (
            name,
            f"{summarise(values).overall.mean:.3f}",
            f"{_points(gain.overall.mean)} [{_points(gain.overall.low)}, {_points(gain.overall.high)}]",
            f"{better} of {len(values)}",
            *(_points(organ.mean) for organ in gain.organs),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cases(evaluations: Iterable[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    for folder in evaluations:
        yield from _read(folder)["cases"].items()


def _dice(case: Mapping[str, Any], organs: Sequence[str]) -> NDArray[np.float64]:
    return np.array([case["organs"][organ]["dice"] for organ in organs], dtype=np.float64)  # None becomes NaN


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.1f}"


def _read(folder: Path) -> dict[str, Any]:
    return read_json_object(folder / METRICS_FILE, ConfigError, hint="give folders that `embedded-vit evaluate` wrote")


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"paired_patients.py: {error}")
