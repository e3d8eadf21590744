"""Which features answer, and what their answers and mixtures weigh."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from network_fixtures import made_network
from torch import Tensor, nn

from embedded_vit.errors import ConfigError
from embedded_vit.labels import SYNAPSE_LABELS
from embedded_vit.models.registry import NetworkConfig
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.hooks import Batch
from embedded_vit.training.losses import segmentation_loss
from embedded_vit.training.settings import RunConfig, TrainingConfig
from embedded_vit.training.supervision import DRAWN, MixtureSupervision, ScaleSupervision, make_supervision

CLASSES, SIZE = SYNAPSE_LABELS.classes, 32


def run_of(supervision: str = "mixtures", **network: object) -> RunConfig:
    return RunConfig(
        network=NetworkConfig(image_size=SIZE, classes=CLASSES, **(network or {"widths": (8, 16)})),
        preprocessing=Preprocessing.for_modality("CT", image_size=SIZE),
        labels=SYNAPSE_LABELS,
        training=TrainingConfig.for_recipe("modern", supervision=supervision),
    )


@pytest.fixture
def batch() -> Batch:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(2, 1, SIZE, SIZE, generator=random)
    labels = torch.randint(0, CLASSES, (2, SIZE, SIZE), generator=random)
    return Batch(images, labels, np.arange(2), [], step=3)


def answers_of(*sizes: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randn(2, CLASSES, size, size, generator=random) for size in sizes]


@pytest.mark.parametrize(
    ("network", "features"),
    [
        ({"widths": (8, 16)}, [(16, 4)]),
        ({"widths": (8, 16, 24)}, [(24, 2), (8, 8)]),
        ({"widths": (8, 16), "convolution_widths": (4, 8)}, [(16, 4), (8, 8), (8, 16)]),
    ],
    ids=["two stages", "three stages", "between convolutions"],
)
def test_every_coarser_scale_on_the_way_up_has_a_head(
    network: dict[str, object], features: list[tuple[int, int]], batch: Batch
) -> None:
    config = run_of("scales", **network)
    built, coarse = made_network(config.network), list[Tensor]()
    supervision = make_supervision(built, config)
    logits, _ = supervision(built, batch)
    torch.testing.assert_close(logits, built(batch.images, coarse))
    assert [(each.shape[1], each.shape[-1]) for each in coarse] == features
    assert [head.in_channels for head in supervision.heads] == [channels for channels, _ in features]


@pytest.mark.parametrize("kind", ["scales", "mixtures"])
def test_coarser_features_of_a_users_own_network_are_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"--supervision {kind}: coarser features are known of this package"):
        make_supervision(nn.Conv2d(3, CLASSES, 1), run_of(kind))


def test_half_as_fine_counts_half_and_sees_the_labels_at_its_pixels(batch: Batch) -> None:
    config = run_of("scales")
    supervision = ScaleSupervision(made_network(config.network), config)
    coarse, fine = answers_of(8, SIZE)
    of_fine, of_coarse = segmentation_loss(fine, batch.labels), segmentation_loss(coarse, batch.labels[:, 2::4, 2::4])
    torch.testing.assert_close(supervision.loss([coarse, fine], batch), (of_fine + of_coarse / 4) / 1.25)
    torch.testing.assert_close(supervision.loss([fine], batch), of_fine)


def test_mixtures_are_sums_products_joins_and_gates_of_two_or_more(batch: Batch) -> None:
    config = run_of()
    supervision = MixtureSupervision(made_network(config.network), config)
    assert supervision.subsets == [(0, 1)]
    first, second = parts = answers_of(SIZE, SIZE)
    added, multiplied, joined, gated = (mixer(parts, 0) for mixer in supervision._mixers)
    torch.testing.assert_close(added, first + second)
    torch.testing.assert_close(multiplied, first * second)
    assert joined.shape == first.shape
    share = (gated - second) / (first - second)  # the same for all classes of a pixel
    torch.testing.assert_close(share, share[:, :1].expand_as(share), rtol=1e-2, atol=1e-2)
    losses = torch.stack([segmentation_loss(each, batch.labels) for each in (first, added, multiplied, joined, gated)])
    expected = segmentation_loss(second, batch.labels) + torch.log(torch.tensor(2.0)) * losses.sum()
    torch.testing.assert_close(supervision.loss(parts, batch), expected)


def test_every_step_draws_other_mixtures_and_always_the_same(batch: Batch) -> None:
    config = run_of("mixtures", widths=(8, 16), convolution_widths=(4, 8))
    supervision = MixtureSupervision(made_network(config.network), config)
    assert len(supervision.subsets) * len(supervision._mixers) == 44 > DRAWN
    answers = answers_of(4, 8, 16, SIZE)
    first, again, other = (supervision.loss(answers, replace(batch, step=step)) for step in (0, 0, 1))
    assert first == again != other


def test_all_weights_learn(batch: Batch) -> None:
    config = run_of()
    network = made_network(config.network).train()
    supervision = MixtureSupervision(network, config)
    _, loss = supervision(network, batch)
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in supervision.parameters())
