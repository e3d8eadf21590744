"""Run the campaigns of faults and print their table.

    python tests/hostile/faults/run.py [--full] [--share 0.1] [--soak 300] [--rows TEXT] [--write PAGE]

`--full` makes all faults, keeps what is done in runs/faults/faults.json (`--output`) and goes on there when it is
called again. The exit status is 1 where a row missed its target.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import textwrap
import time
from pathlib import Path

HOSTILE = Path(__file__).resolve().parents[1]
sys.path[:0] = map(str, (HOSTILE, HOSTILE.parent, HOSTILE.parents[1] / "benchmarks"))

from footnote import footnote

from embedded_vit.about import __version__
from faults.row import Outcome, Row
from faults.table import rows

BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
HEAD = "| Faults | Target | Tried | Failed | Seconds | Note |\n|---|---|---|---|---|---|"


def main() -> int:
    """Run all rows that are asked for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all faults, resumable")
    parser.add_argument("--share", type=float, default=0.1, help="of the faults of each row")
    parser.add_argument("--soak", type=int, default=300, help="seconds, over all rows")
    parser.add_argument("--rows", default="", help="only rows whose name holds this")
    parser.add_argument("--output", type=Path, default=Path("runs/faults"))
    parser.add_argument("--write", type=Path, help="a page whose table is replaced")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    arguments.output.mkdir(parents=True, exist_ok=True)
    record = arguments.output / "faults.json"
    known = json.loads(record.read_text()) if arguments.full and record.exists() else {}
    share = (
        "All faults" if arguments.full else f"A share of {arguments.share:g} of all faults, {arguments.soak} s of soak"
    )
    foot = f"{share}. {footnote()}"
    lines, missed = [HEAD], 0
    soaks = sum(row.name.startswith("soak") for row in rows())
    say(HEAD)
    for row in rows():
        if arguments.rows not in row.name:
            continue
        count = row.full if arguments.full else max(row.least, round(row.full * arguments.share))
        if row.name.startswith("soak") and not arguments.full:
            count = max(1, arguments.soak // soaks)
        key = f"{__version__} {row.name}"
        if key not in known or known[key]["failed"]:
            known[key] = tried(row, count)
            if arguments.full:
                record.write_text(json.dumps(known, indent=1) + "\n")
        lines.append(line_of(row, known[key]))
        say(lines[-1])
        missed += bool(known[key]["failed"])
        for message in known[key]["messages"]:
            say(f"    {message}")
    say(foot)
    if arguments.write:
        write_table(arguments.write, "\n".join(lines), foot)
    return int(bool(missed))


def tried(row: Row, count: int) -> dict[str, object]:
    """Run one row; a campaign that breaks is a failure of its row."""
    if row.lacks or row.run is None:
        return vars(Outcome(note=row.lacks)) | {"seconds": 0.0}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            outcome = row.run(count, Path(folder))
        except Exception as error:
            outcome = Outcome(1, 1, [f"the campaign broke: {type(error).__name__}: {error!s:.300}"])
    return vars(outcome) | {"seconds": round(time.monotonic() - began, 1)}


def line_of(row: Row, found: dict[str, object]) -> str:
    """Return a row as Markdown."""
    if row.lacks or row.run is None:
        return f"| {row.name} | {row.target} | | | | {row.lacks} |"
    return (
        f"| {row.name} | {row.target} | {found['tried']:,} | {found['failed']} | {found['seconds']} | {found['note']} |"
    )


def write_table(page: Path, table: str, foot: str) -> None:
    """Replace the table of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{table}\n\n{textwrap.fill(foot, 98)}\n{END}{after}", encoding="utf-8")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
