"""A hundredth of the campaigns of `make faults`, and the files that once failed."""

from __future__ import annotations

import gzip
import sys
from argparse import Namespace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from faults import record, run
from faults.attacks import write_attacks
from faults.canaries import CANARY, leaking
from faults.claims import ATTACKS
from faults.killed_journal import killed_at_each_write
from faults.kills import killed
from faults.mutations import mutated
from faults.network import CALL, Call, allowed
from faults.orders import FORMATS, ORDERS, cases, is_sheared
from faults.row import Outcome, Row
from faults.run import line_of, main, run_rows
from faults.run import tried as tried_row
from faults.table import rows

SEEDS = Path(__file__).parent / "seeds" / "failed.txt"  # KIND SEED NUMBER, a line each
ELSEWHERE = ("mutated", "SIGKILL", "another body", "canaries", "network", "8 processes")  # in other tests, or slow
ROWS = [row for row in rows() if not row.name.startswith(ELSEWHERE)]


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_hundredth_of_each_campaign(row: Row, tmp_path: Path) -> None:
    if row.run is None or row.lacks:
        pytest.skip(f"{row.name}: {row.lacks}")
    outcome = row.run(1 if row.name.startswith("soak") else max(1, row.full // 100), tmp_path)
    assert outcome.tried > 0
    assert (outcome.failed, outcome.messages) == (0, [])


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ('sin_port=htons(53), sin_addr=inet_addr("10.0.0.2")', False),
        ('sin_port=htons(104), sin_addr=inet_addr("10.0.0.1")', True),
        ('sin_port=htons(105), sin_addr=inet_addr("10.0.0.1")', False),
        ('sin6_port=htons(0), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::", &sin6_addr)', True),
        ('sin6_port=htons(443), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "2001:db8::1", &sin6_addr)', False),
    ],
)
def test_a_connection_counts_unless_it_goes_where_it_may(address: str, may: bool) -> None:
    family = "AF_INET6" if "sin6" in address else "AF_INET"
    line = f"77 connect(8, {{sa_family={family}, {address}}}, 28) = 0"
    assert CALL.search(line)
    assert not CALL.search('77 connect(3, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT')
    assert allowed(line, Call("node", lambda _: "", frozenset({("10.0.0.1", 104)}))) is may


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1"])
@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize(
    "written",
    [
        'sa_family=AF_INET, sin_port=htons(6379), sin_addr=inet_addr("{}")}}, 16',
        'sa_family=AF_INET6, sin6_port=htons(6379), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::ffff:{}"}}, 28',
    ],
)
def test_processes_of_one_verb_may_talk_to_each_other_on_this_computer(written: str, address: str, here: bool) -> None:
    line = f"77 connect(8, {{{written.format(address)}) = 0"
    assert CALL.search(line)
    assert allowed(line, Call("predict --ray", lambda _: "", here=here)) is (here and address == "127.0.0.1")


@pytest.mark.slow
def test_a_search_that_is_killed_once_loses_and_doubles_no_trial(tmp_path: Path) -> None:
    outcome = killed("search", 1, tmp_path)
    assert (outcome.tried, outcome.failed, outcome.messages) == (1, 0, [])


def test_a_search_that_is_killed_while_it_writes_its_journal_loses_and_doubles_no_trial(tmp_path: Path) -> None:
    outcome = killed_at_each_write(4, tmp_path)  # before, in the middle and after
    assert (outcome.failed, outcome.messages) == (0, [])
    assert outcome.tried >= 4


def test_the_table_has_as_many_bombs_and_scans_in_orders_as_there_are(tmp_path: Path) -> None:
    assert len(write_attacks(tmp_path)) == ATTACKS
    made = cases()
    assert len(set(made)) == len(made) == 4 * (48 + 100)
    for kind in FORMATS:
        of_kind = [(number, order) for each, number, order in made if each == kind]
        assert {order for number, order in of_kind if number is None} == set(ORDERS)
        assert sum(number is not None and is_sheared(number) for number, _ in of_kind) == 50


def test_a_canary_is_found_also_where_it_is_compressed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mask.nii.gz").write_bytes(gzip.compress(f"head {CANARY} tail".encode()))
    (tmp_path / "case_seg.dcm").write_text(CANARY)  # which must name the patient
    assert leaking(tmp_path) == ["mask.nii.gz"]


def seeds() -> list[tuple[str, int, int]]:
    lines = [line.split() for line in SEEDS.read_text().splitlines() if line and not line.startswith("#")]
    return [(kind, int(seed), int(number)) for kind, seed, number in lines]


@pytest.mark.parametrize(("kind", "seed", "number"), seeds())
def test_a_file_that_once_failed_fails_no_more(kind: str, seed: int, number: int, tmp_path: Path) -> None:
    outcome = mutated(kind, 1, tmp_path, seed=seed, first=number)
    assert (outcome.failed, outcome.messages) == (0, [])


def test_a_campaign_that_breaks_or_misses_is_a_failure_and_what_is_missing_is_named(tmp_path: Path) -> None:
    def breaks(count: int, folder: Path) -> Outcome:
        raise ValueError(f"{count} in {folder.name and 'a folder'}")

    found = tried_row(Row("a", "b", 1, breaks), 3)
    assert found["failed"] == 1
    assert found["messages"] == ["the campaign broke: ValueError: 3 in a folder"]
    missing = Row("node", "flat", 1, None, "no campaign yet")
    assert line_of(missing, tried_row(missing, 1)) == "| node | flat | | | | no campaign yet |"
    outcome = Outcome()
    outcome.count(good=False, message="no")
    assert (outcome.tried, outcome.failed, outcome.messages) == (1, 1, ["no"])


def test_a_row_is_made_again_where_it_failed_or_the_sources_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def campaign(count: int, folder: Path) -> Outcome:
        calls.append(count)
        return Outcome(tried=count, failed=int(len(calls) == 1))

    wanted = [Row("a", "b", 7, campaign), Row("c", "d", 1, None, "no campaign yet")]
    asked = Namespace(full=True, share=0.1, soak=1, output=tmp_path)
    for failed in (1, 0, 0):  # the last time nothing is left to do
        assert run_rows(wanted, asked)[0][1]["failed"] == failed
    assert calls == [7, 7]
    assert list(record.read_records([tmp_path])) == ["a"]
    monkeypatch.setattr(run, "sources", lambda: "others")
    run_rows(wanted, asked)
    assert calls == [7, 7, 7]


def test_one_table_is_made_of_several_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {"sources": "012345678901", "commit": "abc", "machine": "a machine", "load": 1.5}
    results = {row.name: vars(Outcome(tried=2000)) | {"seconds": 3.5} | made for row in rows()[:2]}
    first, second = results
    for folder, known in {
        "one": results | {second: results[second] | {"tried": 1}},
        "two": {second: results[second] | {"sources": "543210987654"}},
    }.items():
        (tmp_path / folder).mkdir()
        record.write_record(tmp_path / folder, known)
    page = tmp_path / "page.md"
    page.write_text("<!-- faults: begin -->\n<!-- faults: end -->\n")
    folders = [str(tmp_path / name) for name in ("one", "two", "none")]
    monkeypatch.setattr(sys, "argv", ["run.py", "--from", *folders, "--write", str(page)])
    assert main() == 0
    lines = page.read_text().splitlines()
    assert f"| {first} | {rows()[0].target} | 2,000 | 0 | 3.5 |  |" in lines
    assert f"| {second} | {rows()[1].target} | 2,000 | 0 | 3.5 |  |" in lines
    assert sum(line.endswith("| not run |") for line in lines) == len(rows()) - 2
    assert "sources 012345678901 of 1 row; sources 543210987654 of 1 row" in " ".join(lines)
    assert "All faults. a machine" in capsys.readouterr().out
