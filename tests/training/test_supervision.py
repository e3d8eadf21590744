"""Which features answer, and what their answers weigh."""

from __future__ import annotations

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
from embedded_vit.training.supervision import ScaleSupervision, make_supervision

CLASSES, SIZE = SYNAPSE_LABELS.classes, 32


def run_of(**network: object) -> RunConfig:
    return RunConfig(
        network=NetworkConfig(image_size=SIZE, classes=CLASSES, **network),
        preprocessing=Preprocessing.for_modality("CT", image_size=SIZE),
        labels=SYNAPSE_LABELS,
        training=TrainingConfig.for_recipe("modern", deep_supervision=True),
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
        ({"family": "hybrid", "widths": (8, 12, 16), "stem_stride": 1}, [(16, 8), (12, 16)]),
        ({"family": "unet", "widths": (8, 12, 16)}, [(16, 8), (12, 16)]),
    ],
    ids=["two stages", "three stages", "between convolutions", "hybrid", "U-Net"],
)
def test_every_coarser_scale_on_the_way_up_has_a_head(
    network: dict[str, object], features: list[tuple[int, int]], batch: Batch
) -> None:
    config = run_of(**network)
    built, coarse = made_network(config.network), list[Tensor]()
    supervision = make_supervision(built, config)
    logits, _ = supervision(built, batch)
    torch.testing.assert_close(logits, built(batch.images, coarse))
    assert [(each.shape[1], each.shape[-1]) for each in coarse] == features
    assert [head.in_channels for head in supervision.heads] == [channels for channels, _ in features]


def test_coarser_features_of_a_users_own_network_are_refused() -> None:
    with pytest.raises(ConfigError, match="--deep-supervision: works with this package"):
        make_supervision(nn.Conv2d(3, CLASSES, 1), run_of(widths=(8, 16)))


def test_half_as_fine_counts_half_and_sees_the_labels_at_its_pixels(batch: Batch) -> None:
    config = run_of(widths=(8, 16))
    supervision = ScaleSupervision(made_network(config.network), config)
    coarse, fine = answers_of(8, SIZE)
    of_fine, of_coarse = segmentation_loss(fine, batch.labels), segmentation_loss(coarse, batch.labels[:, 2::4, 2::4])
    torch.testing.assert_close(supervision.loss([fine, coarse], batch.labels), (of_fine + of_coarse / 4) / 1.25)
    torch.testing.assert_close(supervision.loss([fine], batch.labels), of_fine)
