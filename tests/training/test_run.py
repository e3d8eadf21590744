"""Runs: started, resumed, refused, and known to be finished."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from leftover_fixtures import NOBODY, left_by
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from training_bench import HYBRID, Workbench

from embedded_vit.datasets import open_data_set
from embedded_vit.errors import CheckpointError, ConfigError
from embedded_vit.models.registry import build_network
from embedded_vit.training.checkpoint import MODEL, STATE, load_state, read_record, read_run_config
from embedded_vit.training.run import is_finished, open_run
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.training import at_half_the_size, default_context, train, train_once, train_planned


def test_a_run_is_described_before_its_first_epoch(bench: Workbench, tmp_path: Path) -> None:
    config = bench.planned(epochs=1)
    trainer = bench.opened(config, tmp_path)
    assert read_record(tmp_path).split == bench.split
    assert read_run_config(tmp_path).network == config.network
    assert not (tmp_path / MODEL).exists()
    torch.manual_seed(config.training.seed)
    fresh = build_network(config.network).state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in trainer.learner.network.state_dict().items())


def test_it_is_finished_after_all_its_epochs(bench: Workbench, tmp_path: Path) -> None:
    config = bench.planned(epochs=1)
    assert not is_finished(tmp_path, config, bench.split, bench.data_set)
    bench.opened(config, tmp_path).run()
    assert is_finished(tmp_path, config, bench.split, bench.data_set)
    assert not is_finished(tmp_path, config.with_training(epochs=2), bench.split, bench.data_set)
    assert not is_finished(tmp_path, config, bench.split.model_copy(update={"seed": 5}), bench.data_set)


def test_epochs_may_be_shorter_or_longer_than_a_pass(bench: Workbench, tmp_path: Path) -> None:
    config = bench.planned(epochs=2)
    for steps in (1, 9):
        trainer = bench.opened(config, tmp_path / str(steps), steps_per_epoch=steps)
        assert trainer.order.steps_of_a_pass not in (1, 9)
        trainer.run()
        tensors, _ = load_state(tmp_path / str(steps))
        assert int(tensors["optimizer.0.step"]) == 2 * steps


def test_other_settings_and_other_data_are_refused(bench: Workbench, tmp_path: Path) -> None:
    config = bench.planned(epochs=1)
    bench.opened(config, tmp_path).run()
    with pytest.raises(ConfigError, match=r"another training\.seed: it was 0, now 1; give the same settings"):
        bench.opened(config.with_training(seed=1), tmp_path)
    others = replace(bench.slices(config), fingerprint="other")
    with pytest.raises(ConfigError, match="the slices differ; give the data"):
        open_run(tmp_path, config, others, bench.split, data_folder=bench.data_set.folder)


def test_train_once_leaves_a_finished_run_alone(bench: Workbench, tmp_path: Path) -> None:
    config = bench.planned(epochs=1)
    asked = {
        "network": None,
        "architecture": {"image_size": 32, "widths": (8, 16), "depth": 1, "convolution_widths": (4, 8)},
        "training": config.training,
        "context_slices": 3,
    }
    written = []
    for _ in range(2):
        train_once(bench.data_set, tmp_path / "run", bench.split, asked, threads=1)
        written.append((tmp_path / "run" / MODEL).stat().st_mtime_ns)
    assert written[0] == written[1]


def test_a_run_that_is_stopped_at_any_write_of_its_last_epoch_ends_whole(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {
        "network": None,
        "architecture": {"image_size": 32, "widths": (8, 16), "depth": 1, "convolution_widths": (4, 8)},
        "training": bench.planned(epochs=1).training,
        "context_slices": 3,
    }
    replace_file, written = os.replace, list[str]()

    def train_with(writes: int, run: Path) -> None:
        left = iter(range(writes))

        def replaced(source: Path, target: Path) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            written.append(Path(target).name)
            replace_file(source, target)

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", replaced)
            train_once(bench.data_set, run, bench.split, asked, threads=1)

    whole = tmp_path / "whole"
    train_with(1000, whole)
    names = list(written)
    assert names[-2:] == ["model.safetensors", "training.json"]
    for writes in range(names.index("log.csv"), len(names)):
        run = tmp_path / f"stopped{writes}"
        with pytest.raises(KeyboardInterrupt):
            train_with(writes, run)
        train_with(1000, run)
        assert (run / MODEL).read_bytes() == (whole / MODEL).read_bytes()
        assert {path.name for path in run.iterdir()} == {path.name for path in whole.iterdir()}
        assert len((run / "log.csv").read_text().splitlines()) == 2


def test_a_finished_run_of_other_masks_is_not_finished_and_not_resumed(bench: Workbench, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bench.data_set.folder, tmp_path / "data"))
    config, data_set = bench.planned(epochs=1), open_data_set(folder)
    run, options = tmp_path / "run", {"training": config.training, "context_slices": 3}
    architecture = {"image_size": 32, "widths": (8, 16), "depth": 1, "convolution_widths": (4, 8)}
    train(folder, run, architecture=architecture, split=bench.split, threads=1, **options)
    assert is_finished(run, config, bench.split, data_set)
    path = sorted((folder / "train_npz").iterdir())[6]
    with np.load(path) as arrays:
        np.savez_compressed(path, image=arrays["image"], label=np.roll(arrays["label"], 9, axis=0))
    assert not is_finished(run, config, bench.split, data_set)
    with pytest.raises(ConfigError, match="cannot resume: the slices differ"):
        train(folder, run, architecture=architecture, split=bench.split, threads=1, resume=True, **options)


@pytest.fixture(scope="module")
def begun(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("begun") / "run"
    bench.opened(bench.planned(epochs=1), folder).run()
    return folder


def with_metadata(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with safe_open(path, "pt") as file:
            state = json.loads(file.metadata()["state"])
        changed = change(state)
        save_file(load_file(path), path, {"state": changed if isinstance(changed, str) else json.dumps(changed)})

    return damage


def without_tensors(start: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        tensors = {name: tensor for name, tensor in load_file(path).items() if not name.startswith(start)}
        save_file(tensors, path, metadata)

    return damage


DAMAGES = {
    "a list": with_metadata(lambda state: []),
    "empty": with_metadata(lambda state: {}),
    "no JSON": with_metadata(lambda state: "{"),
    "deep": with_metadata(lambda state: "[" * 100_000),
    "history a number": with_metadata(lambda state: state | {"history": 3}),
    "history of strings": with_metadata(lambda state: state | {"history": ["x"]}),
    "selected a word": with_metadata(lambda state: state | {"selected_epoch": "first"}),
    "no network": without_tensors("network."),
    "no average": without_tensors("average."),
    "no optimizer": without_tensors("optimizer."),
    "half an optimizer": without_tensors("optimizer.0."),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "no bytes": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_one_line(damage: str, bench: Workbench, begun: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(begun, tmp_path / "run"))
    DAMAGES[damage](run / STATE)
    with pytest.raises((CheckpointError, ConfigError)) as refused:
        bench.opened(bench.planned(epochs=1), run)
    assert "\n" not in str(refused.value)
    assert "run" in str(refused.value)


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bytes_in_a_states_header_are_noticed_or_change_nothing(
    seed: int, bench: Workbench, begun: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(begun, tmp_path / "run"))
    content, rng = bytearray((run / STATE).read_bytes()), np.random.default_rng(seed)
    for place in rng.integers(0, min(4000, len(content)), 3):
        content[place] ^= int(rng.integers(1, 256))
    (run / STATE).write_bytes(content)
    with suppress(CheckpointError, ConfigError):  # any other error fails the test
        bench.opened(bench.planned(epochs=1), run)


def test_what_a_killed_training_left_is_swept_by_the_next(bench: Workbench, begun: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(begun, tmp_path / "run"))
    left = [left_by(NOBODY, run / name) for name in ("state.safetensors", "training.json", "previews/epoch.png")]
    kept = [run / ".hidden", run / "notes.txt"]
    for path in (*left, *kept):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    bench.opened(bench.planned(epochs=1), run)
    assert [path.exists() for path in (*left, *kept)] == [False] * 3 + [True] * 2


def test_a_configuration_is_trained_from_coarse_to_fine(bench: Workbench, tmp_path: Path) -> None:
    config = bench.planned(HYBRID, epochs=1, coarse_epochs=1)
    record = train_planned(bench.data_set, config, tmp_path / "run", split=bench.split, threads=1)
    assert record is not None
    assert len(record.epochs) == 1
    coarse = read_run_config(tmp_path / "run" / "coarse")
    assert coarse == at_half_the_size(config).model_copy(
        update={"postprocessing": coarse.postprocessing, "intensities": coarse.intensities}
    )
    assert (coarse.network.image_size, coarse.preprocessing.image_size) == (32, 32)


def test_three_slices_are_the_default_where_they_gain(bench: Workbench, tmp_path: Path) -> None:
    modern, paper = (TrainingConfig.for_recipe(recipe) for recipe in ("modern", "paper"))
    begun = TrainingConfig.for_recipe("modern", init=str(tmp_path))
    picture = replace(bench.data_set, modality="picture")
    assert default_context(bench.data_set, modern, own_class=False) == 3
    assert default_context(picture, modern, own_class=False) == 1
    assert default_context(bench.data_set, modern, own_class=True) == 1
    assert default_context(bench.data_set, paper, own_class=False) == 1
    assert default_context(bench.data_set, begun, own_class=False) == 1
