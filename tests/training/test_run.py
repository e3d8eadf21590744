"""Runs: started, resumed, refused, and known to be finished."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_bench import Workbench

from embedded_vit.datasets import open_data_set
from embedded_vit.errors import ConfigError
from embedded_vit.models.registry import build_network
from embedded_vit.training.checkpoint import MODEL, load_state, read_record, read_run_config
from embedded_vit.training.run import is_finished, open_run
from embedded_vit.training.training import train, train_once


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
