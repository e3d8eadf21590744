"""From run folders to the page, the Markdown and the CSV file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from embedded_vit.compression.record import COMPRESSION_FILE, read_compression_record
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import DataSet
from embedded_vit.errors import ConfigError, DataSetError
from embedded_vit.io.atomic import refuse_existing, write_text
from embedded_vit.provenance import describe_machine, versions
from embedded_vit.report.page import PageFacts, render_page
from embedded_vit.report.panel import Panel, slice_panel
from embedded_vit.report.rows import ReportRow, check_comparable, data_folder_of, measured_in_turns, rows_of_run
from embedded_vit.report.tables import columns_for, markdown_table, rows_csv
from embedded_vit.training.checkpoint import read_record

__all__ = ["write_report"]

LATENCY_NOTE = (
    "Latency was measured for this report, the files in turns on one machine; ratios are worth more than times."
)
SPARSITY_NOTE = (
    "Weights that are set to zero (prune_weights) make the zipped file smaller and nothing faster: a zero is "
    "multiplied like any other number, so operations and latency stay what they were."
)
PAPER_NOTE = (
    "The paper's points (224: 79.7 % Dice, 26 G operations; 128: 75.5 %, 1.67 G; 64: 65.5 %, 0.11 G; 50, 70 and 90 % "
    "of the weights pruned: 1, 9 and 53 points less) are the paper's, on its 12 test patients of the full Synapse set: "
    "they cannot be compared with figures on other patients. It has no latency on this machine; its sizes are drawn as "
    "four bytes for each parameter of the authors' checkpoints."
)


def write_report(
    runs: Sequence[Path],
    output: Path,
    *,
    data_folder: Path | None = None,
    threads: int = 1,
    overwrite: bool = False,
    on_run: Callable[[Path], None] = lambda run: None,
) -> list[ReportRow]:
    """Put runs and their compression steps on one page; write Markdown and CSV with the same rows beside it.

    Args:
        runs: Run folders of `train` or `compress`. Those without `compression.json` are exported and measured.
        output: The `.html` file; the others have its name with `.md` and `.csv`.
        data_folder: Where to measure; by default each run's own data set.
        threads: Cores for scoring; latency is measured on 1 and on 2.
        overwrite: Whether the files may exist.
        on_run: Called before each run is looked at.

    Returns:
        The rows.

    Raises:
        ConfigError: There is no run, `output` is not called .html, or runs segment different structures.
        OutputError: A file exists already or cannot be written.
        CheckpointError: A folder is no run.
        DataSetError: A data set is not there or does not fit.
    """
    if not runs:
        raise ConfigError("report: expected at least one run folder, got none")
    if output.suffix != ".html":
        raise ConfigError(f"--output {output}: expected a name that ends in .html")
    files = {suffix: output.with_suffix(suffix) for suffix in (".html", ".md", ".csv")}
    if not overwrite:
        for path in files.values():
            refuse_existing(path)
    check_comparable(runs)
    with tempfile.TemporaryDirectory() as temporary:
        rows: list[ReportRow] = []
        for place, run in enumerate(runs):
            on_run(run)
            rows += rows_of_run(run, data_folder, Path(temporary) / str(place), threads=threads)
        rows = measured_in_turns(rows)
        panel = _panel(runs, rows, data_folder, threads)
    notes = _notes(runs, rows, panel)
    columns = columns_for(next((row.measured.test.unit for row in rows if row.measured.test), "mm"))
    facts = PageFacts(
        notes=notes,
        data=", ".join(dict.fromkeys(_data_name(run, data_folder) for run in runs)),
        machine=describe_machine(),
        versions=versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    write_text(files[".html"], render_page(rows, columns, panel, facts), overwrite=overwrite)
    write_text(files[".md"], markdown_table(rows, columns, notes), overwrite=overwrite)
    write_text(files[".csv"], rows_csv(rows), overwrite=overwrite)
    return rows


def _panel(runs: Sequence[Path], rows: Sequence[ReportRow], data_folder: Path | None, threads: int) -> Panel | None:
    """The panel of the first case that tests in every run; None where there is none, or no data set."""
    try:
        data_set: DataSet = open_data_set(data_folder_of(runs[0], data_folder))
    except DataSetError:
        return None
    common = set.intersection(*(set(read_record(run).split.test) for run in runs))
    case = next((case for case in data_set.cases if case.name in common), None)
    return None if case is None else slice_panel(data_set, case, rows, threads=threads)


def _notes(runs: Sequence[Path], rows: Sequence[ReportRow], panel: Panel | None) -> tuple[str, ...]:
    notes = [LATENCY_NOTE, *([SPARSITY_NOTE] if any(row.has_zeros for row in rows) else []), PAPER_NOTE]
    if len({read_record(run).split.test for run in runs}) > 1:
        notes.append("The runs do not test on the same cases: their Dice cannot be compared.")
    cases = {row.measured.test.cases for row in rows if row.measured.test}
    if cases:
        notes.append(f"Intervals are 95 % bootstrap intervals over {' or '.join(map(str, sorted(cases)))} test cases.")
    if panel is None:
        notes.append("No slice is shown: no test case that all runs share is at hand.")
    for run in runs:
        if (run / COMPRESSION_FILE).is_file():
            reason = read_compression_record(run).gate_failed
            if reason is not None:
                notes.append(f"{run.name} was stopped by its gate: {reason}")
    return tuple(notes)


def _data_name(run: Path, data_folder: Path | None) -> str:
    return (data_folder or Path(read_record(run).data_folder)).name
