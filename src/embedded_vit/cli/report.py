"""`embedded-vit report`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def command(
    runs: list[Path],
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    data: Path | None = None,
    threads: int = 1,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Put runs and their compression steps on one page, with Markdown and CSV beside it.

    Args:
        runs: Run folders of `train` or `compress`; those that were not compressed are exported and measured now.
        output: The .html file; .md and .csv get the same name.
        data: Data set to measure on; the one of each training by default.
        threads: CPU threads for scoring; latency is measured on 1 and on 2.
        overwrite: Replace the files if they exist.
    """
    from embedded_vit.report.write import write_report

    rows = write_report(
        runs,
        output,
        data_folder=data,
        threads=threads,
        overwrite=overwrite,
        on_run=lambda run: print(f"{run}: reading or measuring", file=sys.stderr),
    )
    print(f"{len(rows)} rows: {output}, {output.with_suffix('.md')}, {output.with_suffix('.csv')}")
