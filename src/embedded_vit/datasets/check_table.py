"""The report of a data set's check as plain text: a line for each case and each problem."""

from __future__ import annotations

from embedded_vit.columns import in_columns
from embedded_vit.counted import counted
from embedded_vit.datasets.check import CaseSummary, DataSetReport
from embedded_vit.preprocessing import Modality
from embedded_vit.printable import printable_text

__all__ = ["report_text"]

HEADER = ("case", "subset", "shape", "spacing (mm)", "intensities", "voxels by label")
UNREADABLE = "unreadable"
MEANINGS: dict[Modality, str] = {
    "CT": "CT, in HU",
    "MR": "MR, the range of each channel measured on each volume",
    "picture": "pictures, from black to the white of each file's bit depth",
}


def report_text(report: DataSetReport) -> str:
    """Return the table of cases, the names of channels and labels, all problems (errors first), and a summary."""
    rows = [HEADER, *(_row(case) for case in report.cases)]
    labels = ", ".join(f"{label.id} {label.name}" for label in report.data_set.labels.labels)
    problems = [
        f"{problem.severity}: {f'{problem.case}: ' if problem.case else ''}{problem.message}"
        for problem in sorted(report.problems, key=lambda problem: problem.severity)
    ]
    numbered = ", ".join(f"{number} {name}" for number, name in enumerate(report.data_set.channels))
    channels = f"channels: {numbered}; taken as {MEANINGS[report.data_set.modality]}"
    return printable_text([*in_columns(rows), "", channels, f"labels: {labels}", *problems, _summary(report)])


def _summary(report: DataSetReport) -> str:
    data_set = report.data_set
    test = sum(case.subset == "test" for case in report.cases)
    what = f"{data_set.name} ({data_set.layout}, {data_set.modality}): {counted(len(report.cases), 'case')}"
    what += f", {test} of them for testing" if test else ""
    return f"{what}; errors: {report.errors}, warnings: {report.warnings}"


def _row(case: CaseSummary) -> tuple[str, ...]:
    shape = " x ".join(map(str, case.shape)) if case.shape else UNREADABLE
    spacing = " x ".join(f"{length:.2f}" for length in case.spacing_mm) if case.spacing_mm else "unknown"
    intensities = f"{case.intensities[0]:g} to {case.intensities[1]:g}" if case.intensities else UNREADABLE
    labels = UNREADABLE
    if case.label_voxels is not None:
        marked = [f"{number}:{voxels}" for number, voxels in enumerate(case.label_voxels) if number and voxels]
        labels = " ".join(marked) or "none"
    return case.name, case.subset, shape, spacing, intensities, labels
