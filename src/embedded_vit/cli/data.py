"""`embedded-vit data`."""

from __future__ import annotations

import sys
from pathlib import Path

from embedded_vit.cli.options import Names
from embedded_vit.cli.showing import progress_bars, show_text


def command(folder: Path, /, *, structures: Names | None = None) -> None:
    """Check a labelled data set: list its cases and everything that is wrong with them.

    Every scan and every mask is read. The exit status is 2 if training would fail.

    Args:
        folder: Data set in any layout of docs/data.md: nnU-Net, Medical Segmentation Decathlon, images/ and masks/,
            TotalSegmentator, BraTS, TransUNet.
        structures: Structures to look at, by their names; all by default.
    """
    from embedded_vit.datasets import open_data_set
    from embedded_vit.datasets.check import check_data_set
    from embedded_vit.datasets.check_table import report_text

    data_set = open_data_set(folder, structures=structures)
    with progress_bars() as progress:
        task = progress.add_task("reading", total=len(data_set.cases))
        report = check_data_set(data_set, on_case=lambda: progress.advance(task))
    show_text(report_text(report))
    if report.errors:
        sys.exit(2)
