"""Scoring masks that any program wrote: a folder of masks and a data set become the files of an evaluation."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedded_vit.contract import Contract
from embedded_vit.counted import counted
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import Case, DataSet
from embedded_vit.datasets.label_scheme import LabelScheme, spelled
from embedded_vit.errors import ConfigError, DataSetError, FileFormatError, InputError
from embedded_vit.evaluation.brats import brats_lesions
from embedded_vit.evaluation.evaluating import (
    length_notes,
    prepare_output,
    provenance_of,
    unscored_notes,
    write_results,
)
from embedded_vit.evaluation.known_parts import scored, without_ignored
from embedded_vit.evaluation.pictures import PictureCollector
from embedded_vit.evaluation.protocol import PROTOCOLS, Protocol, ProtocolName
from embedded_vit.evaluation.results import CaseResult, Evaluation
from embedded_vit.grids import laid_on
from embedded_vit.io.digest import sha256_of
from embedded_vit.io.mask_file import is_beside_mask, is_mask_name, read_summary, summary_path
from embedded_vit.io.scan_source import data_suffix, read_mask, scan_stem
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.provenance import available_cores, case_digest
from embedded_vit.volume import LabelMap, Volume

__all__ = ["score_predictions"]


def score_predictions(
    predictions: str | Path,
    data_folder: str | Path,
    *,
    output: str | Path,
    structures: list[str] | None = None,
    patient: str | None = None,
    protocol: ProtocolName = "strict",
    threads: int | None = None,
) -> Evaluation:
    """Score every mask of a folder against the case of its name, and write what `evaluate` writes.

    Masks hold the numbers of the data set's own masks. Beside a mask of `embedded-vit predict` lies what its numbers
    stand for; structures are then matched by their names.

    Args:
        predictions: Holds `CASE.nii.gz`, or a file of another format that data sets may have, at any depth.
        data_folder: A data set in any layout.
        output: The folder to write into; made if it is not there.
        structures: The structures to score; all by default.
        patient: How the patient of a case is recognised, as `open_data_set` takes it; intervals are over patients.
        protocol: See `embedded_vit.evaluation.protocol`.
        threads: Structures compared at the same time; by default one for each core.

    Returns:
        The scores. A case that cannot be scored is named in `unscored`, as is a test case of the layout without mask.

    Raises:
        OutputError: `output` already holds results, or cannot be written.
        DataSetError: The data set cannot be opened, or no mask can be scored.
        ConfigError: `threads` is less than 1.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, got {threads}")
    predictions, output = Path(predictions), Path(output)
    prepare_output(output)
    data_set = open_data_set(data_folder, structures=structures, patient=patient)
    masks = _masks_in(predictions)
    pictures = PictureCollector(_contract(data_set))
    scorer = _Scorer(data_set, masks, PROTOCOLS[protocol], threads or available_cores(), pictures)
    results, unscored = scorer.score_all()
    unscored |= dict.fromkeys(_without_mask(masks, data_set), f"no mask of that name in {predictions}")
    if not results:
        raise DataSetError(_nothing(predictions, data_set, unscored))
    evaluation = Evaluation(
        cases=tuple(results),
        labels=data_set.labels,
        protocol=PROTOCOLS[protocol],
        subset="masks",
        unit=results[0].unit,
        provenance=provenance_of(_described(predictions, [masks[each.name] for each in results]), data_set, results),
        unscored=unscored,
        notes=(
            *_without_case(masks, data_set),
            *unscored_notes(unscored),
            *length_notes(PROTOCOLS[protocol], results[0].unit),
        ),
    )
    write_results(output, evaluation, pictures.chosen())
    return evaluation


@dataclass(frozen=True)
class _Scorer:
    """The settings that all cases share."""

    data_set: DataSet
    masks: Mapping[str, Path]
    protocol: Protocol
    threads: int
    pictures: PictureCollector

    def score_all(self) -> tuple[list[CaseResult], dict[str, str]]:
        """Score the cases that have a mask; return the results, and for each that cannot be scored the reason."""
        results: list[CaseResult] = []
        unscored: dict[str, str] = {}
        for case in self.data_set.cases:
            if case.name not in self.masks:
                continue
            try:
                result = self._score(case)
            except InputError as error:
                unscored[case.name] = str(error)
                continue
            if results and result.unit != results[0].unit:
                other = f"those of {results[0].name} in {results[0].unit}"
                unscored[case.name] = f"its lengths are in {result.unit}, {other}"
            else:
                results.append(result)
        return results, unscored

    def _score(self, case: Case) -> CaseResult:
        started = time.perf_counter()
        volume, truth = self.data_set.read_case(case)
        prediction = _prediction(self.masks[case.name], self.data_set, case, volume)
        digest = case_digest(volume, truth)
        prediction, truth = without_ignored(prediction, truth)
        labels, unit = self.data_set.labels, self.protocol.unit(truth)
        scores, regions = scored(self.protocol, prediction, truth, labels, case.unlabelled, self.threads)
        lesions = brats_lesions(self.protocol, prediction, truth, labels, case.unlabelled)
        self.pictures.add(case.name, volume, truth, prediction)
        subset, seconds = "test" if case.reserved_for_test else "unknown", time.perf_counter() - started
        return CaseResult(case.name, subset, scores, unit, seconds, digest, regions, case.patient, lesions)


def _masks_in(folder: Path) -> dict[str, Path]:
    """Return case -> mask of a folder and below.

    Raises:
        DataSetError: There is no such folder, or two masks are of one name.
    """
    if not folder.is_dir():
        raise DataSetError(f"{folder}: no such folder; expected one with a mask per case, CASE.nii.gz")
    found: dict[str, Path] = {}
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if not data_suffix(name) or name.startswith(".") or is_beside_mask(path):
                continue
            if (other := found.setdefault(scan_stem(path), path)) != path:
                raise DataSetError(f"{folder}: {other} and {path} are masks of one case; remove one")
    return found


def _prediction(path: Path, data_set: DataSet, case: Case, volume: Volume) -> LabelMap:
    """Read a mask in the labels of the data set, on the grid of the case's scan.

    Raises:
        FileFormatError: It cannot be read, lies on another grid, or holds a number that stands for nothing.
    """
    stored = laid_on(read_mask(path), volume)
    summary = read_summary(summary_path(path)) if is_mask_name(path) else None
    named = summary.get("labels") if summary is not None else None
    if isinstance(named, Mapping):
        numbers = {spelled(label.name): label.id for label in data_set.labels.labels}
        of_number = {int(number): numbers.get(spelled(str(name)), 0) for name, number in named.items()}
        stored = LabelScheme(data_set.labels, {0: 0, **of_number}).apply(stored)
    else:
        stored = data_set.in_labels(stored, Case(case.name, case.patient))
    highest = int(np.where(stored.array < data_set.labels.classes, 0, stored.array).max(initial=0))
    if highest:
        raise FileFormatError(f"{path}: holds ignored voxels; a prediction must say what they are")
    return stored


def _contract(data_set: DataSet) -> Contract:
    preprocessing = Preprocessing.for_modality(data_set.modality, channels=data_set.channels, image_size=64)
    return Contract(preprocessing=preprocessing, labels=data_set.labels)


def _without_case(masks: Mapping[str, Path], data_set: DataSet) -> list[str]:
    unknown = sorted(masks.keys() - {case.name for case in data_set.cases})
    unnamed = counted(len(unknown), "mask has no case of its name", "masks have no case of their name")
    return [f"{unnamed}, such as {unknown[0]}."] if unknown else []


def _without_mask(masks: Mapping[str, Path], data_set: DataSet) -> list[str]:
    return [case.name for case in data_set.cases if case.reserved_for_test and case.name not in masks]


def _nothing(predictions: Path, data_set: DataSet, unscored: Mapping[str, str]) -> str:
    for name, reason in unscored.items():
        return f"none of {counted(len(unscored), 'mask')} can be scored; {name}: {reason}"
    first = data_set.cases[0].name
    return f"{predictions}: no mask is named as one of the {counted(len(data_set.cases), 'case')}, such as {first}"


def _described(folder: Path, masks: list[Path]) -> dict[str, str]:
    digest = hashlib.sha256("".join(sorted(sha256_of(path) for path in masks)).encode()).hexdigest()
    return {"path": str(folder), "kind": "masks", "sha256": digest, "computed_by": "whoever wrote the masks"}
