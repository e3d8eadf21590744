"""`embedded-vit report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from embedded_vit.cli.options import Flag, OutputAlias
from embedded_vit.cli.showing import show, tell
from embedded_vit.counted import counted


def command(
    runs: list[Path],
    /,
    *,
    output: Annotated[Path, OutputAlias],
    data: Path | None = None,
    compare: Path | None = None,
    threads: int = 1,
    overwrite: Flag = False,
) -> None:
    """Compare runs and their compression steps on one page: accuracy, size, MACs, latency.

    Args:
        runs: Run folders of `train` or `compress`. Runs that were not compressed are exported and measured now.
        output: HTML file to write; a Markdown and a CSV file of the same name are written beside it.
        data: Labelled data set to measure on; by default the one of each training.
        compare: CSV file with points of other networks to draw in the plots: the columns name, dice, and one or more of
            macs, parameters, file_bytes and latency_ms.
        threads: CPU threads for scoring. Latency is always measured on 1 and on 2 threads.
        overwrite: Replace the files if they exist.
    """
    from embedded_vit.report.write import write_report

    rows = write_report(
        runs,
        output,
        data_folder=data,
        compare=compare,
        threads=threads,
        overwrite=overwrite,
        on_run=lambda run: tell(f"{run}: reading or measuring"),
    )
    show(f"{counted(len(rows), 'row')}: {output}, {output.with_suffix('.md')}, {output.with_suffix('.csv')}")
