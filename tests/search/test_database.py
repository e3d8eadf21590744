"""A search whose trials lie in a PostgreSQL data base: no trial is lost or doubled, whoever is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_fixtures import Server, lacks, running_postgres

from embedded_vit.errors import ConfigError
from embedded_vit.search import alive
from embedded_vit.search.alive import Beats, next_trial, taken_trials, try_again_what_died
from embedded_vit.search.database import open_database
from embedded_vit.search.space import Budget, SearchSettings, suggest
from embedded_vit.search.study import open_study

SETTINGS = SearchSettings(budget=Budget.read("latency_ms=5"), threads=1)
needs_postgres = pytest.mark.skipif(bool(lacks()), reason=lacks())


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def address(postgres: Server) -> str:
    """An empty data base."""
    return postgres.new_database()


@needs_postgres
@pytest.mark.slow
def test_of_four_processes_one_is_killed_and_no_trial_is_lost_or_doubled(
    address: str, synapse_folder: Path, tmp_path: Path
) -> None:
    program = Path(__file__).with_name("shared_search.py")
    command = [sys.executable, str(program), address, str(synapse_folder), str(tmp_path), "12"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["wrong"], found["killed"], found["failed"]) == ([], signal.SIGKILL, 1)
    assert "its process died; its candidate is tried again" in found["events"]


@needs_postgres
def test_a_trial_is_dead_when_its_number_no_longer_grows(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(address)
    study = open_study(tmp_path, SETTINGS, "data", database)
    signs, now = Beats(database), [0.0]
    monkeypatch.setattr(alive.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(alive, "BEAT_SECONDS", 0.01)
    with next_trial(study, signs, 9) as trial:
        assert trial is not None
        candidate = suggest(trial, SETTINGS)
        for _ in range(3):
            before = study.trials[trial.number].user_attrs.get(alive.BEAT)
            while study.trials[trial.number].user_attrs.get(alive.BEAT) == before:
                pass
            assert try_again_what_died(study, signs) == []
            now[0] += alive.PATIENCE_SECONDS
        assert signs.others(study) == [trial.number]
    now[0] += 1
    assert try_again_what_died(study, signs) == []  # its last number is seen for the first time
    now[0] += alive.PATIENCE_SECONDS + 1
    assert [dead.number for dead in try_again_what_died(study, signs)] == [trial.number]
    assert try_again_what_died(study, signs) == []
    assert taken_trials(study) == 0
    drawn = [suggest(study.ask(), SETTINGS) for _ in study.get_trials(states=(alive.TrialState.WAITING,))]
    assert drawn.count(candidate) == 1


@needs_postgres
def test_another_search_in_the_same_data_base_is_refused(address: str, tmp_path: Path) -> None:
    open_study(tmp_path, SETTINGS, "data", open_database(address))
    with pytest.raises(ConfigError, match=r"postgresql.*/searches.*--epochs 20, now 3"):
        open_study(tmp_path, SETTINGS.model_copy(update={"epochs": 3}), "data", open_database(address))
    with pytest.raises(ConfigError, match="other data; choose another"):
        open_study(tmp_path, SETTINGS, "others", open_database(address))


@needs_postgres
def test_a_data_base_that_cannot_be_reached_is_one_line_without_the_password(postgres: Server) -> None:
    secret = postgres.address("there_is_none").replace("@", ":hunter2@")
    for address in (secret, f"{secret}/nowhere"):
        with pytest.raises(
            ConfigError, match=r"--storage postgresql.*/there_is_none.*: the data base cannot"
        ) as raised:
            open_database(address)
        assert "hunter2" not in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("sqlite:///x.db", "expected postgresql://USER@HOST/DATABASE"),
        ("nothing", "expected postgresql://USER@HOST/DATABASE"),
        ("postgresql://u:hunter2@host", "expected postgresql://USER@HOST/DATABASE"),
        ("postgresql://u:hunter2@host/d?sslmode=maybe", "sslmode=maybe: expected one of disable, require, verify-full"),
        ("postgresql://u:hunter2@host/d?colour=red", "unknown settings colour"),
    ],
)
def test_what_is_no_address_of_a_data_base_is_refused(address: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        open_database(address)
    assert "hunter2" not in str(raised.value)
