"""Training by CUDA graphs, on the CPU: the same augmentation, loss and steps as the one training loop's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from embedded_vit.datasets import open_data_set
from embedded_vit.errors import TrainingError
from embedded_vit.training import augmentation
from embedded_vit.training.checkpoint import MODEL, load_checkpoint, read_record, read_run_config
from embedded_vit.training.training import train
from factory import gpu_trainings, table
from factory.experiments import experiments_of
from factory.folders import ModelFolders
from factory.gpu_trainings import jobs_for, run_all, train_one
from factory.making import ModelMaker, asked_of

TINY = table.Training(
    table.BTCV,
    {"recipe": "modern", "epochs": 2, "seed": 3, "cutmix": 0.0, "batch_size": 8},
    architecture={"image_size": 16, "widths": (8, 16), "depth": 1, "convolution_widths": (4, 8)},
)


@pytest.fixture(autouse=True)
def tiny_table() -> Iterator[None]:
    """A network that trains in a second, one with more pixels, and the first one taught by it."""
    larger = replace(TINY, architecture=TINY.architecture | {"image_size": 32}, starts_from="tiny")
    lesson = TINY.settings | {"learning_rate": 1e-3, "cutmix": 0.5}
    taught = replace(TINY, settings=lesson, starts_from="tiny", taught_by="tiny-32")
    trainings = {"tiny": TINY, "tiny-32": larger, "tiny-taught": taught}
    models = {"tiny-ct": table.Model("8 phantom organs", "tiny-taught", table.HALF)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("TRAININGS", trainings), ("MODELS", models)):
            patch.setattr(table, name, value)
        yield


@pytest.mark.slow
def test_everything_that_a_model_needs_is_trained(synapse_folder: Path, tmp_path: Path) -> None:
    maker = ModelMaker(ModelFolders("tiny-ct", tmp_path), synapse_folder, "cpu", threads=1)
    jobs = jobs_for([maker], ["split"])
    assert [job.training for job in jobs] == ["tiny", "tiny-32", "tiny-taught"]
    assert run_all(jobs, processes=2) == []
    taught = read_run_config(maker.folders.run("split"))
    assert (taught.training.learning_rate, taught.training.cutmix) == (1e-3, 0.5)
    assert len(read_record(maker.folders.run("split")).epochs) == 2
    weights = (maker.folders.run("split") / MODEL).read_bytes()
    data_set = open_data_set(synapse_folder)
    split = experiments_of(data_set, TINY)["split"]
    maker.train(data_set, "split", split)  # which finds everything done
    assert (maker.folders.run("split") / MODEL).read_bytes() == weights
    maker.export("split")
    assert maker.folders.artifact("split").is_file()


def test_the_steps_are_the_training_loops(
    synapse_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation, "_add_noise", lambda images, distortions, name: images)
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    # AdamW divides a gradient by its size: where that is next to nothing, by rounding alone.
    monkeypatch.setattr(torch.optim, "AdamW", partial(torch.optim.AdamW, eps=1e-4))
    maker = ModelMaker(ModelFolders("tiny-ct", tmp_path / "ours"), synapse_folder, "cpu", threads=1)
    job = jobs_for([maker], ["split"])[0]
    train_one(job)
    asked = asked_of(TINY, job.split, None)
    train(synapse_folder, tmp_path / "theirs", **asked, split=job.split, threads=1)
    ours, theirs = read_record(job.run), read_record(tmp_path / "theirs")
    assert [epoch.loss for epoch in ours.epochs] == pytest.approx([epoch.loss for epoch in theirs.epochs], rel=1e-5)
    expected = load_checkpoint(tmp_path / "theirs").network.state_dict()
    for name, value in load_checkpoint(job.run).network.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6), name


def test_what_builds_on_a_failure_is_not_begun(
    synapse_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise TrainingError("the loss is nan")

    monkeypatch.setattr(gpu_trainings, "train_one", fail)
    jobs = jobs_for([ModelMaker(ModelFolders("tiny-ct", tmp_path), synapse_folder, "cpu", threads=1)], ["split"])
    assert run_all(jobs, processes=2) == sorted(job.run for job in jobs)
