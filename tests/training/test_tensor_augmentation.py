"""Augmentation as one function of tensors: what `augment` gives for the same distortions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embedded_vit.training import augmentation
from embedded_vit.training.augmentation import augment, functions_of_place
from embedded_vit.training.distortion import Distortion, Mirroring, draw
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.tensor_augmentation import WIDTH, augmented, numbers_of

FUNCTIONS = functions_of_place(32, torch.device("cpu"))


def test_the_same_distortions_give_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "_add_noise", lambda images, distortions, name: images)
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.uniform(-1, 1, (40, 1, 32, 32)).astype(np.float16))
    labels = torch.from_numpy(random.integers(0, 9, (40, 32, 32), dtype=np.uint8))
    training, order = TrainingConfig.for_recipe("modern", cutmix=0.5), np.arange(1, 39)
    indices = order[:24]
    distortions = [
        draw(training, np.random.default_rng((5, number)), mirror=Mirroring(), others=order) for number in range(24)
    ]
    assert {bool(distortion.patch) for distortion in distortions} == {True, False}

    def read(wanted: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return images[wanted[:, None] + np.array([-1, 0, 1]), 0].float(), labels[wanted].long()

    own, others = torch.zeros(24, WIDTH), torch.zeros(24, WIDTH)
    for place, (index, distortion) in enumerate(zip(indices, distortions, strict=True)):
        patch = distortion.patch
        over = (Distortion(), index) if patch is None else (patch.distortion, patch.index)
        rectangle = (0, 0, 0, 0) if patch is None else (*patch.rows, *patch.columns)
        own[place] = torch.from_numpy(numbers_of(distortion, index + np.array([-1, 0, 1]), rectangle))
        others[place] = torch.from_numpy(numbers_of(over[0], over[1] + np.array([-1, 0, 1])))
    expected = augment(read, indices, distortions)
    found = augmented(images, labels, FUNCTIONS, own, others, torch.zeros(2, 24, 3, 32, 32), context_slices=3)
    assert torch.allclose(found[0], expected[0], atol=2e-5)
    assert torch.equal(found[1], expected[1])
    noisy, _ = augmented(images, labels, FUNCTIONS, own, None, torch.ones(1, 24, 3, 32, 32), context_slices=3)
    plain, _ = augmented(images, labels, FUNCTIONS, own, None, torch.zeros(1, 24, 3, 32, 32), context_slices=3)
    strength = torch.tensor([distortion.noise for distortion in distortions])
    assert ((noisy - plain).amax(dim=(1, 2, 3)) > 0).tolist() == (strength > 0).tolist()


def test_slice_and_channel_come_in_the_order_of_a_batch() -> None:
    images = torch.arange(12, dtype=torch.float16).reshape(6, 2, 1, 1).expand(6, 2, 32, 32) / 12 - 0.5
    labels = torch.zeros(6, 32, 32, dtype=torch.uint8)
    row = torch.from_numpy(numbers_of(Distortion(), (2, 3, 4)))[None]
    for context_slices, wanted in ((1, [3]), (3, [2, 3, 4])):
        noise = torch.zeros(1, 1, 2 * context_slices, 32, 32)
        found, _ = augmented(images, labels, FUNCTIONS, row, None, noise, context_slices=context_slices)
        expected = torch.cat([images[index] for index in wanted]).float()
        torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-3)


def test_a_compiler_sees_one_graph() -> None:
    compiled = torch.compile(augmented, dynamic=False, fullgraph=True, backend="eager")
    images, labels = torch.rand(4, 1, 32, 32).half(), torch.zeros(4, 32, 32, dtype=torch.uint8)
    rows = torch.from_numpy(np.stack([numbers_of(Distortion(gamma=1.2, curve=np.full(3, 0.1)), (0, 1, 2))] * 2))
    given = (images, labels, FUNCTIONS, rows, rows, torch.zeros(2, 2, 3, 32, 32))
    torch.testing.assert_close(compiled(*given, context_slices=3), augmented(*given, context_slices=3))
