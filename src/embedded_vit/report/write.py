"""A report of run folders: the page, and a Markdown and a CSV file beside it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from embedded_vit.compression.record import COMPRESSION_FILE, read_compression_record
from embedded_vit.costs.complexity import complexity
from embedded_vit.datasets import open_data_set_like
from embedded_vit.datasets.data_set import DataSet
from embedded_vit.errors import ConfigError, DataSetError
from embedded_vit.io.atomic import check_folder, refuse_existing, write_text
from embedded_vit.provenance import describe_machine, versions
from embedded_vit.report.compared_points import read_compared_points
from embedded_vit.report.page import PageFacts, plots_of, render_page
from embedded_vit.report.panel import Panel, slice_panel
from embedded_vit.report.rows import ReportRow, check_comparable, data_folder_of, measured_in_turns, rows_of_run
from embedded_vit.report.tables import columns_for, markdown_table, rows_csv
from embedded_vit.training.checkpoint import read_record, read_run_config

__all__ = ["write_report"]

LATENCY_NOTE = (
    "Latency was measured for this report, the files in turns on one machine. Ratios are more reliable than times."
)
SPARSITY_NOTE = (
    "Weights that are set to zero (prune_weights) make the zipped file smaller, but not the network faster: a zero is "
    "multiplied like any other number, so MACs and latency stay the same."
)


def write_report(
    runs: Sequence[str | Path],
    output: str | Path,
    *,
    data_folder: str | Path | None = None,
    compare: str | Path | None = None,
    threads: int = 1,
    overwrite: bool = False,
    on_run: Callable[[Path], None] = lambda run: None,
) -> list[ReportRow]:
    """Write a page that compares runs and their compression steps, and Markdown and CSV with the same rows.

    Args:
        runs: Run folders of `train` or `compress`. Those without `compression.json` are exported and measured.
        output: The `.html` file; `.md` and `.csv` files of the same name are written beside it.
        data_folder: The data set to measure on; by default that of each run.
        compare: A CSV file with points of other work to draw in the plots.
        threads: CPU threads for scoring; latency is measured on 1 and on 2.
        overwrite: Whether the files may exist.
        on_run: Called before each run is read or measured.

    Returns:
        The rows.

    Raises:
        ConfigError: There is no run, `output` does not end in .html, or runs segment different structures.
        OutputError: A file exists already or cannot be written.
        CheckpointError: A folder is not a run folder.
        DataSetError: A data set is not there or does not fit.
        FileFormatError: `compare` cannot be read or is not as `docs/file-formats.md` says.
    """
    if not runs:
        raise ConfigError("report: expected at least one run folder, got none")
    page_file, markdown_file, csv_file = _output_files(Path(output), overwrite)
    compare = None if compare is None else Path(compare)
    data_folder = None if data_folder is None else Path(data_folder)
    compared = [] if compare is None else read_compared_points(compare)
    folders = [Path(run) for run in runs]
    check_comparable(folders)
    with tempfile.TemporaryDirectory() as temporary:
        rows: list[ReportRow] = []
        for place, run in enumerate(folders):
            on_run(run)
            rows += rows_of_run(run, data_folder, Path(temporary) / str(place), threads=threads)
        rows = measured_in_turns(rows)
        panel = _panel(folders, rows, data_folder, threads)
    notes = _notes(folders, rows, panel, compare)
    columns = columns_for(next((row.measured.test.unit for row in rows if row.measured.test), "mm"))
    facts = PageFacts(
        notes=notes,
        data=", ".join(dict.fromkeys(_data_name(run, data_folder) for run in folders)),
        machine=describe_machine(),
        versions=versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    page = render_page(rows, columns, panel, facts, plots=plots_of(rows, compared))
    write_text(page_file, page, overwrite=overwrite)
    write_text(markdown_file, markdown_table(rows, columns, notes), overwrite=overwrite)
    write_text(csv_file, rows_csv(rows), overwrite=overwrite)
    return rows


def _output_files(page: Path, overwrite: bool) -> tuple[Path, Path, Path]:
    """Return the page, and the Markdown and CSV files beside it, if they can be written."""
    if page.suffix != ".html":
        raise ConfigError(f"--output {page}: expected a name that ends in .html")
    check_folder(page.parent)
    files = page, page.with_suffix(".md"), page.with_suffix(".csv")
    if not overwrite:
        for path in files:
            refuse_existing(path)
    return files


def _panel(runs: Sequence[Path], rows: Sequence[ReportRow], data_folder: Path | None, threads: int) -> Panel | None:
    """Return the panel of the first test case that all runs share; None without one, or without the data set."""
    try:
        structures = read_run_config(runs[0]).labels.names
        data_set: DataSet = open_data_set_like(data_folder_of(runs[0], data_folder), structures)
    except DataSetError:
        return None
    common = set.intersection(*(set(read_record(run).split.test) for run in runs))
    case = next((case for case in data_set.cases if case.name in common), None)
    return None if case is None else slice_panel(data_set, case, rows, threads=threads)


def _notes(
    runs: Sequence[Path], rows: Sequence[ReportRow], panel: Panel | None, compare: Path | None
) -> tuple[str, ...]:
    notes = [LATENCY_NOTE, *([SPARSITY_NOTE] if any(row.has_zeros for row in rows) else [])]
    if len({read_record(run).split.test for run in runs}) > 1:
        notes.append("The runs have different test cases: their Dice cannot be compared.")
    cases = {row.measured.test.cases for row in rows if row.measured.test}
    if cases:
        counts = " or ".join(map(str, sorted(cases)))
        notes.append(f"Intervals are 95 % bootstrap intervals over the patients of {counts} test cases.")
    if compare is not None:
        notes.append(f"Diamonds are the points of {compare.name}: measured by others, possibly on other patients.")
    if panel is None:
        notes.append("No slice is shown: the runs share no test case, or their data set is missing.")
    notes += filter(None, map(_folding_note, runs))
    notes += filter(None, (_epochs_note(run, rows) for run in runs))
    for run in runs:
        if (run / COMPRESSION_FILE).is_file():
            reason = read_compression_record(run).gate_failed
            if reason is not None:
                notes.append(f"{run.name} was stopped by its gate: {reason}")
    return tuple(notes)


def _epochs_note(run: Path, rows: Sequence[ReportRow]) -> str:
    """Say where steps of a run trained its network further; empty where none did."""
    steps = [row for row in rows if row.run == run and row.step_epochs]
    if not steps:
        return ""
    trained = "; ".join(f"{row.step}: {row.step_epochs} after {row.epochs - row.step_epochs}" for row in steps)
    return (
        f"{run.name}: steps trained the network for more epochs ({trained}). A Dice above that of an earlier row may "
        "come from these epochs and not from the step; compare with a run that was trained as long."
    )


def _folding_note(run: Path) -> str:
    """Say what folding saves in a run's network as it was trained; empty where the network has no published form."""
    trained = run
    if (run / COMPRESSION_FILE).is_file():
        trained = (run / read_compression_record(run).stages[0].artifact).parent
    config = read_run_config(trained)
    costs = complexity(config.network, input_channels=config.preprocessing.input_channels)
    if costs.naive_macs is None:
        return ""
    return (
        f"{run.name}: folding saves {1 - costs.macs / costs.naive_macs:.0%} of the MACs. The published form of the "
        f"network takes {costs.naive_macs / 1e6:.1f} M, the folded form that runs takes {costs.macs / 1e6:.1f} M; "
        "both compute the same function."
    )


def _data_name(run: Path, data_folder: Path | None) -> str:
    return (data_folder or Path(read_record(run).data_folder)).name
