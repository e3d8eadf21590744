"""The fingerprint of a data set: the figures of every case that trains, kept until the files change."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedded_vit.about import __version__
from embedded_vit.counted import counted
from embedded_vit.datasets.data_set import DataSet
from embedded_vit.datasets.identity import FileStamp, case_contents, file_stamps
from embedded_vit.errors import ConfigError, DataSetError
from embedded_vit.field_of_view import FieldOfView
from embedded_vit.io.cache import recall, remember
from embedded_vit.planning.case_figures import CaseFigures, case_figures

__all__ = ["FIELDS_OF_VIEW", "Fingerprint", "fingerprint_of"]

FIELDS_OF_VIEW: Mapping[str, tuple[FieldOfView, ...]] = {"CT": ("slice", "body"), "MR": ("slice", "nonzero")}
KEPT_EVERY = 8  # cases: so many are measured again after a kill, at most


@dataclass(frozen=True)
class Fingerprint:
    """What is known of the cases that train.

    Attributes:
        data_set: Where they are from.
        cases: Name -> figures.
        read_seconds: What reading and measuring one case takes on this computer.
    """

    data_set: DataSet
    cases: Mapping[str, CaseFigures]
    read_seconds: float = 1.0

    @property
    def figures(self) -> list[CaseFigures]:
        """Those of every case."""
        return list(self.cases.values())

    @property
    def spacing_known(self) -> bool:
        """Whether every case has its lengths in mm."""
        return all(case.spacing_known for case in self.figures)

    def median_spacing(self) -> tuple[float, float, float]:
        """Return the median over cases, along superior, left, posterior."""
        upwards, leftwards, backwards = np.median([case.spacing for case in self.figures], axis=0).tolist()
        return upwards, leftwards, backwards


def fingerprint_of(
    data_set: DataSet, names: Sequence[str], *, on_case: Callable[[str], None] = lambda name: None
) -> Fingerprint:
    """Measure cases one at a time, or take what is known of them while their files have not changed.

    Args:
        data_set: Where the cases are.
        names: The cases that train and select the weights; what tests must not decide anything.
        on_case: Called after each case.

    Raises:
        FileFormatError: A case cannot be read.
        DataSetError: No case has a structure.
    """
    folder = hashlib.sha256(str(data_set.folder.resolve()).encode()).hexdigest()[:16]
    file, key = f"fingerprint-{folder}", __version__
    stored = recall(file, key)
    before: dict[str, Any] = stored if isinstance(stored, dict) else {}
    stamps = file_stamps(data_set, names, _stamps_of(before))
    contents = case_contents(data_set, names, stamps)
    known: dict[str, Any] = before["cases"] if isinstance(before.get("cases"), dict) else {}
    cases: dict[str, CaseFigures] = {}
    kinds = FIELDS_OF_VIEW.get(data_set.modality, ("slice",))
    seconds: list[float] = []
    earlier = before.get("read_seconds")

    def keep() -> None:
        plain = {name: [contents[name], figures.model_dump(mode="json")] for name, figures in cases.items()}
        files = {path: stamp.model_dump() for path, stamp in stamps.items()}
        remember(file, key, {"files": files, "cases": known | plain, "read_seconds": float(np.median(seconds))})

    for name in names:
        figures = _known_figures(known.get(name), contents[name]) if data_set.files_of(data_set.case(name)) else None
        if figures is None:
            started = time.perf_counter()
            figures = case_figures(*data_set.read_case(data_set.case(name)), data_set.labels, kinds)
            seconds.append(time.perf_counter() - started)
        cases[name] = figures
        if seconds and len(seconds) % KEPT_EVERY == 0:
            keep()
        on_case(name)
    if seconds:
        keep()
    if not any(case.structures for case in cases.values()):
        raise DataSetError(
            f"{data_set.folder}: no labels at all in {counted(len(names), 'case')}; nothing to learn: add masks"
        )
    known_seconds = earlier if isinstance(earlier, float) else 1.0
    return Fingerprint(data_set, cases, float(np.median(seconds)) if seconds else known_seconds)


def _stamps_of(before: Mapping[str, Any]) -> dict[str, FileStamp]:
    try:
        return {path: FileStamp.parse(stamp, source="cache") for path, stamp in before.get("files", {}).items()}
    except (ConfigError, AttributeError, TypeError):
        return {}


def _known_figures(stored: object, content: str) -> CaseFigures | None:
    """Return what an earlier look measured, where the case is the same."""
    if not (isinstance(stored, list) and len(stored) == 2 and stored[0] == content):
        return None
    try:
        return CaseFigures.parse(stored[1], source="cache")
    except (ConfigError, TypeError):
        return None
