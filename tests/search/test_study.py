"""The journal: it outlives its processes, and refuses what does not belong to it."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest
from optuna.trial import TrialState

from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import make_split
from embedded_vit.errors import ConfigError, FileFormatError, OutputError
from embedded_vit.search.alive import FileLocks, next_trial, taken_trials, trial_lock, try_again_what_died
from embedded_vit.search.space import Budget, SearchSettings, first_candidates, suggest
from embedded_vit.search.study import JOURNAL, data_identity, journal_errors, open_study

SETTINGS = SearchSettings(budget=Budget.read("latency_ms=5"), threads=1)


def test_a_second_process_finds_the_trials_of_the_first(tmp_path: Path) -> None:
    first, second = (open_study(tmp_path, SETTINGS, "data") for _ in range(2))
    first.tell(first.ask(), [0.5, 1.0])
    second.ask()
    assert taken_trials(first) == taken_trials(second) == 2


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"epochs": 3}, "--epochs 20, now 3"),
        ({"threads": 2}, "--threads 1, now 2"),
        ({"family": "dual"}, "--family fast, now dual"),
        ({"budget": Budget.read("macs=1e8")}, "--budget latency_ms=5, now macs=1e\\+08"),
        ({"image_sizes": (64, 96)}, "--image-sizes 64 96 128 160 192 224, now 64 96;"),
    ],
)
def test_another_search_is_refused_by_option(tmp_path: Path, changed: dict, named: str) -> None:
    open_study(tmp_path, SETTINGS, "data")
    with pytest.raises(ConfigError, match=named):
        open_study(tmp_path, SETTINGS.model_copy(update=changed), "data")


def test_a_search_of_a_version_with_one_family_goes_on_and_only_with_that_one(tmp_path: Path) -> None:
    dual = SETTINGS.model_copy(update={"family": "dual"})
    study = open_study(tmp_path, dual, "data")
    study.set_user_attr("asked", {key: value for key, value in study.user_attrs["asked"].items() if key != "family"})
    open_study(tmp_path, dual, "data")
    with pytest.raises(ConfigError, match="--family dual, now fast"):
        open_study(tmp_path, SETTINGS, "data")


def test_other_data_are_refused(tmp_path: Path, synapse_folder: Path, decathlon_folder: Path) -> None:
    identities = []
    for folder in (synapse_folder, decathlon_folder):
        data_set = open_data_set(folder)
        identities.append(data_identity(data_set, make_split(data_set, seed=0)))
    open_study(tmp_path, SETTINGS, identities[0])
    open_study(tmp_path, SETTINGS, identities[0])
    with pytest.raises(ConfigError, match="other data"):
        open_study(tmp_path, SETTINGS, identities[1])


def test_a_mask_of_any_searched_case_counts(tmp_path: Path, nnunet_folder: Path) -> None:
    folder = Path(shutil.copytree(nnunet_folder, tmp_path / "data"))
    data_set = open_data_set(folder)
    split = make_split(data_set, seed=0)
    before = data_identity(data_set, split)
    mask = data_set.files_of(data_set.case(split.validation[0]))[-1]
    shutil.copyfile(data_set.files_of(data_set.case(split.train[0]))[-1], mask)
    assert data_identity(data_set, split) != before


def test_a_line_cut_short_is_dropped_and_the_next_ones_can_be_read(tmp_path: Path) -> None:
    study = open_study(tmp_path, SETTINGS, "data")
    study.tell(study.ask(), [0.5, 1.0])
    with open(tmp_path / JOURNAL, "a") as file:
        file.write('{"op_code": 4, "worker')
    again = open_study(tmp_path, SETTINGS, "data")
    again.ask()
    assert taken_trials(open_study(tmp_path, SETTINGS, "data")) == 2


def test_what_is_no_journal_and_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text("not a journal\nat all\n")
    with pytest.raises(FileFormatError, match="damaged"):
        open_study(tmp_path, SETTINGS, "data")
    with pytest.raises(OutputError, match="cannot create this folder"):
        open_study(tmp_path / JOURNAL, SETTINGS, "data")


def test_a_trial_at_work_is_left_alone_and_a_dead_one_is_tried_again(tmp_path: Path) -> None:
    study = open_study(tmp_path, SETTINGS, "data")
    trial = study.ask()
    candidate = suggest(trial, SETTINGS)
    hold = (
        "import sys, time; from pathlib import Path; from embedded_vit.search.alive import trial_lock\n"
        f"with trial_lock(Path(sys.argv[1]), {trial.number}) as locked: print(locked, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "True\n"
        assert try_again_what_died(study, FileLocks(tmp_path)) == []
        with trial_lock(tmp_path, trial.number) as locked:
            assert not locked
        process.kill()
    assert [dead.number for dead in try_again_what_died(study, FileLocks(tmp_path))] == [trial.number]
    assert study.trials[trial.number].state == TrialState.FAIL
    assert taken_trials(study) == 0
    assert [suggest(study.ask(), SETTINGS) for _ in first_candidates()][-1] == candidate
    assert first_candidates()[0].items() <= study.trials[-1].params.items()  # those of the other family are drawn too
    drawn = len(first_candidates())  # by nobody who holds their locks
    assert len(try_again_what_died(study, FileLocks(tmp_path))) == drawn
    assert try_again_what_died(study, FileLocks(tmp_path)) == []


def test_whoever_closes_a_dead_trial_may_die_before_its_candidate_is_queued(tmp_path: Path) -> None:
    study, signs = open_study(tmp_path, SETTINGS, "data"), FileLocks(tmp_path)
    known = [suggest(study.ask(), SETTINGS) for _ in first_candidates("fast")]
    candidate = suggest(study.ask(), SETTINGS)
    for trial in study.trials:
        study.tell(trial.number, state=TrialState.FAIL)
    for _ in range(2):
        assert try_again_what_died(study, signs) == []
    waiting = study.get_trials(states=(TrialState.WAITING,))
    assert [suggest(study.ask(), SETTINGS) for _ in waiting] == [*known, candidate]


def test_a_process_that_draws_a_trial_is_waited_for(tmp_path: Path) -> None:
    study, signs = open_study(tmp_path, SETTINGS, "data"), FileLocks(tmp_path)
    drawn = []
    with signs.alone():
        other = Thread(target=lambda: drawn.append(next_trial(study, signs, 1).__enter__()))
        other.start()
        other.join(timeout=0.3)
        assert drawn == []
    other.join()
    assert drawn[0].number == 0
    with next_trial(study, signs, 1) as surplus:
        assert surplus is None


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "cannot write: the disk is full"),
        (RuntimeError("Error: did not possess lock"), "search.journal: cannot write: its lock cannot be given back"),
    ],
)
def test_a_journal_that_cannot_be_written_is_one_line(raised: Exception, said: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=said), journal_errors(tmp_path):
        raise raised
    with pytest.raises(RuntimeError, match="block"), journal_errors(tmp_path):
        raise RuntimeError("no block")


def test_a_folder_of_a_search_that_may_not_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("")
    with pytest.raises(OutputError, match="cannot write"), trial_lock(tmp_path, 0):
        pass
