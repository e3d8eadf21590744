"""Training by CUDA graphs, on the CPU: the same augmentation, loss and steps as the one training loop's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import builtin_models
import gpu_trainings
import numpy as np
import pytest
import torch
from graph_augmentation import WIDTH, augmented, numbers_of
from graph_trainer import task_loss

from embedded_vit.datasets import open_data_set
from embedded_vit.errors import TrainingError
from embedded_vit.training import augmentation
from embedded_vit.training.augmentation import Distortion, augment, draw
from embedded_vit.training.checkpoint import MODEL, load_checkpoint, read_record, read_run_config
from embedded_vit.training.losses import segmentation_loss
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.training import train

TINY = builtin_models.Training(
    builtin_models.BTCV,
    {"recipe": "modern", "epochs": 2, "seed": 3, "cutmix": 0.0, "batch_size": 8},
    architecture={"image_size": 16, "widths": (8, 16), "depth": 1, "convolution_widths": (4, 8)},
)


@pytest.fixture(autouse=True)
def table() -> Iterator[None]:
    """A network that trains in a second, one with more pixels, and the first one taught by it."""
    larger = replace(TINY, architecture=TINY.architecture | {"image_size": 32}, goes_on_from="tiny")
    lesson = TINY.settings | {"learning_rate": 1e-3, "cutmix": 0.5}
    taught = replace(TINY, settings=lesson, goes_on_from="tiny", taught_by="tiny-32")
    trainings = {"tiny": TINY, "tiny-32": larger, "tiny-taught": taught}
    models = {"tiny-ct": builtin_models.Model("8 phantom organs", "tiny-taught", builtin_models.HALF)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("TRAININGS", trainings), ("MODELS", models)):
            patch.setattr(builtin_models, name, value)
            patch.setattr(gpu_trainings, name, value)
        yield


def test_the_same_distortions_give_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "_add_noise", lambda images, distortions, name: images)
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.uniform(-1, 1, (40, 32, 32)).astype(np.float16))
    labels = torch.from_numpy(random.integers(0, 9, (40, 32, 32), dtype=np.uint8))
    training, order = TrainingConfig.for_recipe("modern", cutmix=0.5), np.arange(1, 39)
    indices = order[:24]
    distortions = [
        draw(training, np.random.default_rng((5, number)), mirror=True, others=order) for number in range(24)
    ]
    assert {bool(distortion.patch) for distortion in distortions} == {True, False}

    def read(wanted: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return images[wanted[:, None] + np.array([-1, 0, 1])].float(), labels[wanted].long()

    own, others = torch.zeros(24, WIDTH), torch.zeros(24, WIDTH)
    for place, (index, distortion) in enumerate(zip(indices, distortions, strict=True)):
        patch = distortion.patch
        over = (Distortion(), index) if patch is None else (patch.distortion, patch.index)
        rectangle = (0, 0, 0, 0) if patch is None else (*patch.rows, *patch.columns)
        own[place] = torch.from_numpy(numbers_of(distortion, index + np.array([-1, 0, 1]), rectangle))
        others[place] = torch.from_numpy(numbers_of(over[0], over[1] + np.array([-1, 0, 1])))
    expected = augment(read, indices, distortions)
    found = augmented(images, labels, own, others, torch.zeros(2, 24, 3, 32, 32))
    assert torch.allclose(found[0], expected[0], atol=2e-5)
    assert torch.equal(found[1], expected[1])
    noisy, _ = augmented(images, labels, own, None, torch.ones(1, 24, 3, 32, 32))
    plain, _ = augmented(images, labels, own, None, torch.zeros(1, 24, 3, 32, 32))
    strength = torch.tensor([distortion.noise for distortion in distortions])
    assert ((noisy - plain).amax(dim=(1, 2, 3)) > 0).tolist() == (strength > 0).tolist()


def test_the_loss_is_the_training_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 9, 8, 8, generator=generator)
    labels = torch.randint(0, 9, (3, 8, 8), generator=generator)
    assert task_loss(logits, labels).item() == pytest.approx(segmentation_loss(logits, labels).item(), rel=1e-5)


@pytest.mark.slow
def test_everything_that_a_model_needs_is_trained(synapse_folder: Path, tmp_path: Path) -> None:
    workplace = builtin_models.Workplace("tiny-ct", synapse_folder, tmp_path, "cpu", threads=1)
    jobs = gpu_trainings.jobs_for([workplace], ["split"])
    assert [job.training for job in jobs] == ["tiny", "tiny-32", "tiny-taught"]
    assert gpu_trainings.run_all(jobs, processes=2) == []
    taught = read_run_config(workplace.run("split"))
    assert (taught.training.learning_rate, taught.training.cutmix) == (1e-3, 0.5)
    assert len(read_record(workplace.run("split")).epochs) == 2
    weights = (workplace.run("split") / MODEL).read_bytes()
    data_set = open_data_set(synapse_folder)
    split = builtin_models.experiments_of(data_set, TINY)["split"]
    workplace.trained(data_set, "split", split)  # which finds everything done
    assert (workplace.run("split") / MODEL).read_bytes() == weights
    workplace.exported("split")
    assert workplace.artifact("split").is_file()


def test_the_steps_are_the_training_loops(
    synapse_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation, "_add_noise", lambda images, distortions, name: images)
    monkeypatch.setattr(torch, "randn", lambda *shape, **_: torch.zeros(*shape))
    workplace = builtin_models.Workplace("tiny-ct", synapse_folder, tmp_path / "ours", "cpu", threads=1)
    job = gpu_trainings.jobs_for([workplace], ["split"])[0]
    gpu_trainings.train_one(job)
    asked = builtin_models.asked_of(TINY, job.split, None)
    train(synapse_folder, tmp_path / "theirs", **asked, split=job.split, threads=1)
    ours, theirs = read_record(job.run), read_record(tmp_path / "theirs")
    assert [epoch.loss for epoch in ours.epochs] == pytest.approx([epoch.loss for epoch in theirs.epochs], rel=1e-4)
    expected = load_checkpoint(tmp_path / "theirs").network.state_dict()
    for name, value in load_checkpoint(job.run).network.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-3), name


def test_what_builds_on_a_failure_is_not_begun(
    synapse_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise TrainingError("the loss is nan")

    monkeypatch.setattr(gpu_trainings, "train_one", fail)
    jobs = gpu_trainings.jobs_for(
        [builtin_models.Workplace("tiny-ct", synapse_folder, tmp_path, "cpu", threads=1)], ["split"]
    )
    assert gpu_trainings.run_all(jobs, processes=2) == sorted(job.run for job in jobs)
