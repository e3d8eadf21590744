"""The scripts of the awkward cases that make data sets, trainings or scores: what each must come to, and what came.

`cases.py` runs them. A data set is opened and every case of it read; where the source of the case is known, its labels
must be those of the source, voxel by voxel.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import Case, DataSet
from embedded_vit.datasets.phantom import PhantomSettings
from embedded_vit.datasets.phantom_writer import Layout, write_phantoms
from embedded_vit.errors import EmbeddedVitError
from embedded_vit.volume import LabelMap, Volume

__all__ = ["Row", "data_set_rows", "program_rows"]

Row = tuple[str, str, str, str]  # case, expected, found, because

PHANTOMS = PhantomSettings(size=48, slices=12)
CASES = 5
SCRIPT_SECONDS = 900
CLOSE_HU = 40  # between the intensities of a case and of what it was made from; a spline overshoots
# Script -> layout of its source, arguments behind the output folder, expected outcome of each data set that it makes,
# by the name of its folder; "" is for all others, and the only one where the output folder itself is the data set.
DATA_SETS: dict[str, tuple[Layout, tuple[tuple[str, ...], ...], dict[str, str]]] = {
    "nnunet_variants": (
        "nnunet",
        ((),),
        {
            "half": "4 + 1, 1 refused",  # a scan or a mask is missing: the others are there
            "labelsTs_partial": "4 + 2, 1 refused",
            "labelsTs_empty": "4 + 0",
            "labels_gap": "refused",
            "labels_no_background": "refused",
            "labels_region": "refused",  # its masks hold other numbers
            "": "4 + 1",
        },
    ),
    "labels_scaled": ("nnunet", ((),), {"": "4 + 1"}),
    "affine_rounding": ("nnunet", (("0.02",), ("0.2",), ("0.02", "spacing"), ("0", "direction")), {"": "4 + 1"}),
    "two_channels": ("nnunet", (("0",), ("30",)), {"": "4 + 0", "30": "refused"}),
    "transunet_lists": ("transunet", ((),), {"": "4 + 1"}),
    "transunet_overshoot": ("transunet", ((), ("0.000001",), ("0.15",)), {"": "4 + 1"}),
}
# Scripts that train or score -> their arguments, and what each line that tells must say.
PROGRAMS: dict[str, tuple[str, str]] = {
    "nsd_rounding": (r"NSD (\d\.\d+)", "1.000"),
    "stale_cache": (r"^fingerprints:.*\} (.*)$", "ok"),
    "stale_cache_kinds": (r"^(?:a \('--resume',\)|b \(\)) (\d)", "2 or 0"),
}
TOO_LATE = r"^interrupted: 0 "  # a script's training had ended before it was interrupted: that shows nothing
TRIES = 5


def data_set_rows(folder: Path, place: Path) -> Iterator[Row]:
    """Run the scripts that make data sets, and read what they made.

    Args:
        folder: With the scripts.
        place: Where data sets may lie for a while.
    """
    for script, (layout, calls, expected) in DATA_SETS.items():
        if not (folder / f"{script}.py").exists():
            continue
        source = place / layout
        if not source.exists():
            write_phantoms(source, CASES, layout=layout, settings=PHANTOMS)
        for arguments in calls:
            made = place / script / "-".join(arguments or ("made",))
            made.parent.mkdir(exist_ok=True)
            _run(folder / f"{script}.py", source, made, *arguments)
            several = not any(path.is_dir() and path.name in ("imagesTr", "train_npz") for path in made.iterdir())
            for variant in sorted(made.iterdir()) if several else [made]:
                found, reason = _outcome(variant, source)
                wanted = expected[variant.name if variant.name in expected else ""]
                yield f"{script}/{variant.name}", wanted, found, reason[:100]


def program_rows(folder: Path, place: Path) -> Iterator[Row]:
    """Run the scripts that print what became of a training or of scores, and read their lines."""
    for script, (pattern, expected) in PROGRAMS.items():
        if not (folder / f"{script}.py").exists():
            continue
        for _ in range(TRIES):
            printed = _run(folder / f"{script}.py", sys.executable, place / script)
            if not re.search(TOO_LATE, printed, re.MULTILINE):
                break
        found = sorted(set(re.findall(pattern, printed, re.MULTILINE)))
        yield script, expected, " or ".join(reversed(found)) or "nothing", printed.strip().rpartition("\n")[2][:100]


def _outcome(folder: Path, source: Path) -> tuple[str, str]:
    """Open a data set and read its cases: ("training + test cases", why some are refused), or what else came."""
    original = open_data_set(source)
    try:
        data_set = open_data_set(folder)
    except EmbeddedVitError as error:
        return "refused", _without_folder(error, folder)
    known, refused = {case.name: case for case in original.cases}, []
    for case in data_set.cases:
        try:
            volume, labels = data_set.read_case(case)
        except EmbeddedVitError as error:
            refused.append(_without_folder(error, folder))
            continue
        if case.name in known and (wrong := _difference(data_set, volume, labels, original, known[case.name])):
            return "wrong", f"{case.name}: {wrong}"
    if len(refused) == len(data_set.cases):
        return "refused", refused[0]
    tests = sum(case.reserved_for_test for case in data_set.cases)
    counts = f"{len(data_set.cases) - tests} + {tests}"
    return (f"{counts}, {len(refused)} refused", refused[0]) if refused else (counts, "")


def _difference(data_set: DataSet, volume: Volume, labels: LabelMap, original: DataSet, case: Case) -> str:
    """Say in what a case differs from the one that it was made from; empty where it is the same."""
    scan, right = original.read_case(case)
    if labels.shape != volume.shape:
        return "the mask has another shape than the scan"
    if right.shape == labels.shape and data_set.labels.names == original.labels.names:
        there, wanted = (each.reoriented().array for each in (labels, right))
        if not np.array_equal(there, wanted):
            return f"{np.mean(there != wanted):.1%} of the labels are others"
    if (data_set.modality, data_set.channels) == (original.modality, original.channels):
        found, expected = (np.quantile(_intensities(each), (0.1, 0.5, 0.9)) for each in (volume, scan))
        if np.abs(found - expected).max() > CLOSE_HU:
            return f"its intensities have the median {found[1]:.3g} in place of {expected[1]:.3g}"
    return ""


def _intensities(volume: Volume) -> NDArray[np.float32]:
    return np.stack([volume.intensities(index) for index in range(volume.shape[0])])


def _without_folder(error: EmbeddedVitError, folder: Path) -> str:
    return str(error).rpartition(f"{folder.name}/")[2]


def _run(script: Path, *arguments: object) -> str:
    """Run a script of the folder and return what it prints."""
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=SCRIPT_SECONDS).stdout
