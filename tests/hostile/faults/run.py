"""Run the campaigns of faults and print their table.

    python tests/hostile/faults/run.py [--full] [--share 0.1] [--soak 300] [--rows TEXT] [--write PAGE]
    python tests/hostile/faults/run.py --from FOLDER [FOLDER ...] [--write PAGE]

`--full` makes all faults, keeps what is done in runs/faults/faults.json (`--output`) and goes on there when it is
called again; rows that failed, and rows of other sources than those of this checkout, are made again. `--from` runs
nothing and prints one table of what `--full` kept in several folders. The exit status is 1 where a row missed its
target.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

HOSTILE = Path(__file__).resolve().parents[1]
sys.path[:0] = map(str, (HOSTILE, HOSTILE.parent, HOSTILE.parents[1] / "benchmarks"))

from page_table import replace_table

from faults.record import Result, made_by, made_by_all, read_records, sources, write_record
from faults.row import Outcome, Row
from faults.table import rows

HEAD = ("| Faults | Target | Tried | Failed | Seconds | Note |", "|---|---|---|---|---|---|")
NOT_RUN = vars(Outcome(note="not run"))


def main() -> int:
    """Run all rows that are asked for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all faults, resumable")
    parser.add_argument("--share", type=float, default=0.1, help="of the faults of each row")
    parser.add_argument("--soak", type=int, default=300, help="seconds, over all rows")
    parser.add_argument("--rows", default="", help="only rows whose name holds this")
    parser.add_argument("--output", type=Path, default=Path("runs/faults"))
    parser.add_argument("--from", type=Path, nargs="+", dest="folders", help="folders of --full: run nothing")
    parser.add_argument("--write", type=Path, help="a page whose table is replaced")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    wanted = [row for row in rows() if arguments.rows in row.name]
    say("\n".join(HEAD))
    if arguments.folders:
        known = read_records(arguments.folders)
        found = [(row, known.get(row.name, NOT_RUN)) for row in wanted]
        for row, result in found:
            say_result(row, result)
    else:
        found = run_rows(wanted, arguments)
    made = made_by_all(result for _, result in found if result["tried"])
    part = f"A share of {arguments.share:g} of all faults, {arguments.soak} s of soak"
    foot = f"{'All faults' if arguments.full or arguments.folders else part}. {made}"
    say(foot)
    if arguments.write:
        lines = [line_of(row, result) for row, result in found]
        replace_table(arguments.write, "faults", [*HEAD, *lines], foot)
    return int(any(result["failed"] for _, result in found))


def run_rows(wanted: list[Row], arguments: argparse.Namespace) -> list[tuple[Row, Result]]:
    """Run rows one after the other, without those that the record of `--full` has from the same sources."""
    arguments.output.mkdir(parents=True, exist_ok=True)
    known = read_records([arguments.output]) if arguments.full else {}
    soaks = sum(row.name.startswith("soak") for row in rows())
    found = []
    for row in wanted:
        count = row.full if arguments.full else max(row.least, round(row.full * arguments.share))
        if row.name.startswith("soak") and not arguments.full:
            count = max(1, arguments.soak // soaks)
        result = known.get(row.name)
        if result is None or result["failed"] or result["sources"] != sources():
            result = tried(row, count)
            if arguments.full and result["tried"]:
                known[row.name] = result
                write_record(arguments.output, known)
        say_result(row, result)
        found.append((row, result))
    return found


def tried(row: Row, count: int) -> Result:
    """Run one row; a campaign that breaks is a failure of its row."""
    made = made_by()
    if row.lacks or row.run is None:
        return vars(Outcome(note=row.lacks)) | {"seconds": 0.0} | made
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            outcome = row.run(count, Path(folder))
        except Exception as error:
            outcome = Outcome(1, 1, [f"the campaign broke: {type(error).__name__}: {error!s:.300}"])
    return vars(outcome) | {"seconds": round(time.monotonic() - began, 1)} | made


def say_result(row: Row, result: Result) -> None:
    """Print a row and what failed in it."""
    say(line_of(row, result))
    for message in result["messages"]:
        say(f"    {message}")


def line_of(row: Row, found: Result) -> str:
    """Return a row as Markdown."""
    if not found["tried"]:
        return f"| {row.name} | {row.target} | | | | {found['note']} |"
    return (
        f"| {row.name} | {row.target} | {found['tried']:,} | {found['failed']} | {found['seconds']} | {found['note']} |"
    )


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
