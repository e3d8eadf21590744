"""Distillation: its loss, teachers of other sizes, scans without masks."""

from __future__ import annotations

import shutil
from functools import partial

import numpy as np
import pytest
import torch

from embedded_vit.compression.step import StepContext
from embedded_vit.compression.steps.distill import Distill
from embedded_vit.datasets import open_data_set
from embedded_vit.errors import ConfigError, DataSetError
from embedded_vit.io.nifti import write_volume
from embedded_vit.training.augmentation import augment
from embedded_vit.training.checkpoint import load_checkpoint
from embedded_vit.training.distillation import Teacher, distillation_loss
from embedded_vit.training.distortion import Distortion
from embedded_vit.training.hooks import Batch
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.slices import SliceSet
from embedded_vit.training.training import train


@pytest.fixture
def context(synapse_folder, trained_run, tmp_path) -> StepContext:
    return StepContext(synapse_folder, load_checkpoint(trained_run), tmp_path / "work", threads=1)


def weights_of(checkpoint) -> torch.Tensor:
    return torch.cat([parameter.flatten() for parameter in checkpoint.network.parameters()]).detach()


def test_the_loss_is_zero_for_equal_opinions_and_grows_with_their_distance():
    logits = torch.randn(2, 4, 8, 8)
    taught = (logits / 2).softmax(dim=1)
    assert distillation_loss(logits, taught).item() == pytest.approx(0, abs=1e-6)
    assert 0 < distillation_loss(0.9 * logits, taught) < distillation_loss(0.1 * logits, taught)


def test_an_error_at_an_edge_counts_five_times():
    taught = torch.zeros(1, 2, 8, 8)
    taught[:, 0, :, :4] = taught[:, 1, :, 4:] = 1.0
    logits = 20 * (taught - 0.5)
    inside, edge = logits.clone(), logits.clone()
    inside[..., 0, 0] *= -1
    edge[..., 0, 3] *= -1
    assert distillation_loss(edge, taught) / distillation_loss(inside, taught) == pytest.approx(5, rel=1e-3)


@pytest.mark.parametrize("own_grid", [False, True])
def test_a_teacher_computes_in_the_trainings_precision_and_sees_what_the_student_sees(own_grid):
    seen = []

    class Watching(torch.nn.Conv2d):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = super().forward(images)
            seen.append((images, logits.dtype))
            return logits

    images = np.random.default_rng(0).uniform(-1, 1, (4, 1, 16, 16)).astype(np.float16)
    slices = SliceSet(images, np.zeros((4, 16, 16), np.uint8), ("a",), np.zeros(4, np.int64), "")
    indices, blurred = np.array([2, 0]), [Distortion(blur_pixels=1.0, gain=0.5)] * 2
    read = partial(slices.tensors, context_slices=1, device=torch.device("cpu"))
    batch = Batch(*augment(read, indices, blurred), indices, blurred, 0, partial(torch.autocast, "cpu", torch.bfloat16))
    teacher = Teacher(Watching(1, 3, 1), slices if own_grid else None)
    soft = teacher.probabilities(batch.images, teacher.slices, batch)
    assert soft.dtype == torch.float32
    assert seen[0][1] == torch.bfloat16
    assert torch.equal(seen[0][0], batch.images)


def test_a_teacher_of_another_size_and_context_teaches(synapse_folder, context, tmp_path):
    teacher = tmp_path / "teacher"
    train(
        synapse_folder,
        teacher,
        architecture={"image_size": 64, "widths": (8, 16)},
        training=TrainingConfig.for_recipe("modern", batch_size=8, epochs=1),
        context_slices=3,
        validation_cases=1,
        threads=1,
    )
    before = context.original
    result = Distill(teacher=teacher, epochs=1).apply(before, context, tmp_path / "step", frozenset())
    assert not torch.equal(weights_of(result.checkpoint), weights_of(before))
    assert result.checkpoint.config.network == before.config.network


def test_a_teacher_matters(context, trained_run, tmp_path):
    one, other = (
        Distill(teacher=trained_run, epochs=1, weight=weight).apply(
            context.original, context, tmp_path / str(weight), frozenset()
        )
        for weight in (0.1, 0.9)
    )
    assert not torch.equal(weights_of(one.checkpoint), weights_of(other.checkpoint))


def test_scans_without_masks_teach_too(synapse_folder, context, trained_run, tmp_path):
    data_set = open_data_set(synapse_folder)
    scans = tmp_path / "scans"
    scans.mkdir()
    write_volume(scans / "scan.nii.gz", data_set.read_volume(data_set.cases[0]))
    step = Distill(teacher=trained_run, epochs=1, unlabelled=scans)
    result = step.apply(context.original, context, tmp_path / "step", frozenset())
    assert np.isfinite(result.checkpoint.record.epochs[-1].loss)
    slices = context.unlabelled_slices(scans, context.original.config.preprocessing)
    assert len(slices) == 12
    assert not slices.labels.any()


def test_an_empty_folder_of_scans_is_refused(context, trained_run, tmp_path):
    with pytest.raises(DataSetError, match="no \\.nii"):
        Distill(teacher=trained_run, epochs=1, unlabelled=tmp_path).apply(
            context.original, context, tmp_path / "step", frozenset()
        )


def test_a_teacher_of_other_structures_is_refused(context, trained_run, tmp_path):
    teacher = tmp_path / "teacher"
    shutil.copytree(trained_run, teacher)
    config = (teacher / "config.json").read_text()
    (teacher / "config.json").write_text(config.replace('"liver"', '"tumour"'))
    with pytest.raises(ConfigError, match="other structures"):
        Distill(teacher=teacher, epochs=1).apply(context.original, context, tmp_path / "step", frozenset())
