"""Which cases are of one patient: from `patients.csv`, from a pattern of the names, or noticed in the names.

Cases of one patient must stay on one side of a split, or the test is of a patient whom the network knows.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from embedded_vit.counted import counted
from embedded_vit.datasets.data_set import DataSet
from embedded_vit.errors import ConfigError, DataSetError

__all__ = ["PATIENTS_FILE", "check_pattern", "noticed_patients", "with_patients"]

PATIENTS_FILE = "patients.csv"
COLUMNS = ("case", "patient")
MOST_BYTES = 16 * 2**20
# What people call a patient in the name of a case, and what tells scans of one patient apart.
NAMED_PATIENT = re.compile(r"(?<![a-z])(?:patient|subject|subj|sub|pat|pt)[-_ ]?[a-z]*\d+", re.IGNORECASE)
NUMBERED_SCAN = re.compile(
    r"^(?P<patient>.*\d.*?)[-_ ](?:frame|phase|time|timepoint|tp|visit|session|ses|scan|series|followup|fu|ed|es)"
    r"[-_ ]?\d*(?:[-_ ].*)?$",
    re.IGNORECASE,
)


def check_pattern(pattern: str | None) -> re.Pattern[str] | None:
    """Compile the pattern of a patient.

    Raises:
        ConfigError: It is not a regular expression.
    """
    if pattern is None:
        return None
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"--patient '{pattern:.60}': not a regular expression ({error}); for example 'patient\\d+'"
        ) from error


def with_patients(data_set: DataSet, pattern: str | None = None) -> DataSet:
    """Return a data set whose cases know their patient.

    Args:
        data_set: As its layout gives it.
        pattern: A regular expression; what it matches in a case's name, or its first group, is the patient. None: as
            `patients.csv` in the folder says, else as noticed in the names; a remark says which.

    Raises:
        ConfigError: The pattern is not a regular expression.
        DataSetError: The pattern does not match a name, or the table lacks a case or cannot be read.
    """
    names = [case.name for case in data_set.cases]
    compiled = check_pattern(pattern)
    remark = None
    patients: Mapping[str, str]
    if compiled is not None:
        patients = _matched(names, compiled, data_set.folder)
    elif (data_set.folder / PATIENTS_FILE).exists():
        patients = _stated(names, data_set.folder / PATIENTS_FILE)
    else:
        patients = noticed_patients(names)
        if not patients:
            return data_set
        together = Counter(patients.values()).most_common(1)[0][0]
        alike = [name for name in names if patients[name] == together]
        remark = (
            f"{data_set.folder}: {alike[0]} and {alike[1]} are taken for one patient, and so on: "
            f"{counted(len(names), 'case')} of "
            f"{counted(len(set(patients.values())), 'patient')}; {PATIENTS_FILE} with the columns case,patient "
            "says it otherwise"
        )
    cases = tuple(replace(case, patient=patients[case.name]) for case in data_set.cases)
    new = [remark] if remark and remark not in data_set.remarks else []
    return replace(data_set, cases=cases, remarks=(*data_set.remarks, *new))


def noticed_patients(names: Sequence[str]) -> dict[str, str]:
    """Return case -> patient where the names tell that some cases are of one patient; empty where they do not.

    A name tells it by a patient's number in it ("patient001_frame12"), or by what numbers the scans of one patient
    ("ab12_visit2").
    """
    for found in (
        {name: _together(NAMED_PATIENT.findall(name)) for name in names},
        {name: match["patient"] if (match := NUMBERED_SCAN.match(name)) else None for name in names},
    ):
        patients = {name: patient or name for name, patient in found.items()}
        sizes = Counter(patients.values())
        if len(sizes) > 1 and max(sizes.values()) > 1:
            return patients
    return {}


def _together(found: list[str]) -> str | None:
    return found[0] if found else None


def _matched(names: Sequence[str], pattern: re.Pattern[str], folder: Path) -> dict[str, str]:
    patients = {}
    for name in names:
        match = pattern.search(name)
        if match is None or not match[0]:
            raise DataSetError(
                f"{folder}: --patient '{pattern.pattern}' does not match the case '{name}'; every name must hold its "
                f"patient, or {PATIENTS_FILE} must list them (columns case,patient)"
            )
        patients[name] = next((group for group in match.groups() if group), match[0])
    return patients


def _stated(names: Sequence[str], path: Path) -> Mapping[str, str]:
    """Read `patients.csv`: the columns case and patient, one row per case."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataSetError(f"{path}: larger than {MOST_BYTES // 2**20} MiB; expected one row per case")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataSetError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataSetError(f"{path}: not UTF-8 (byte {error.start}); save it as CSV UTF-8") from error
    semicolons = ";" in text.partition("\n")[0]  # as spreadsheets write it where the comma is for decimals
    try:
        reader = csv.DictReader(io.StringIO(text), delimiter=";" if semicolons else ",", strict=True)
        rows = list(reader)
    except csv.Error as error:
        raise DataSetError(f"{path}: not valid CSV: {str(error)[:80]}; expected the columns case,patient") from error
    columns = [column.strip().lower() for column in reader.fieldnames or []]
    if not set(COLUMNS) <= set(columns):
        raise DataSetError(f"{path}: its columns are {', '.join(columns[:5]) or 'none'}; expected case,patient")
    stated: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        values = {str(key).strip().lower(): str(value or "").strip() for key, value in row.items()}
        case, patient = values["case"], values["patient"]
        if not case or not patient:
            raise DataSetError(f"{path}: line {number}: a case or its patient is empty; fill it in or remove the line")
        if stated.setdefault(case, patient) != patient:
            raise DataSetError(f"{path}: line {number}: case '{case}' has two patients; remove one")
    missing = [name for name in names if name not in stated]
    if missing:
        raise DataSetError(
            f"{path}: case '{missing[0]}' is not in it, and {len(missing) - 1} more; add a line for each of the "
            f"{counted(len(names), 'case')}"
        )
    return stated
