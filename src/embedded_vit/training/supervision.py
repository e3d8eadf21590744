"""Supervision: the loss of the network's logits alone, or of its coarser feature maps too.

The heads on coarser feature maps are trained with the network, but are not part of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from embedded_vit.errors import ConfigError
from embedded_vit.models.layered_network import LayeredNetwork
from embedded_vit.training.hooks import Batch
from embedded_vit.training.losses import segmentation_loss
from embedded_vit.training.partial_labels import possible_classes
from embedded_vit.training.settings import RunConfig

__all__ = ["ScaleSupervision", "Supervision", "make_supervision"]


def make_supervision(network: nn.Module, config: RunConfig) -> Supervision:
    """Make the supervision that a run's settings ask for.

    Raises:
        ConfigError: Deep supervision is set for a user's own network, whose feature maps are not known.
    """
    possible = possible_classes(config.partial_labels, config.labels.classes)
    if not config.training.deep_supervision:
        return Supervision(possible)
    if not isinstance(network, LayeredNetwork):
        raise ConfigError(
            "--deep-supervision: works with this package's networks only; train a user's own network without it"
        )
    return ScaleSupervision(network, config)


class Supervision(nn.Module):
    """The loss of the network's logits.

    Args:
        possible: The classes that each label may stand for, as `segmentation_loss` takes them.
    """

    def __init__(self, possible: Tensor | None = None) -> None:
        super().__init__()
        self.possible: Tensor | None
        self.register_buffer("possible", possible, persistent=False)

    def forward(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run a network on a batch; return logits (B, K, T, T) and the loss, a scalar."""
        with batch.autocast():
            answers = self.answers(network, batch.images)
        return answers[0], self.loss(answers, batch.labels)

    def answers(self, network: nn.Module, images: Tensor) -> list[Tensor]:
        """Run a network on images (B, C, S, S); return logits (B, K, T, T), and coarser answers if there are any."""
        return [network(images)]

    def loss(self, answers: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Return the loss, a scalar, of such answers against labels (B, S, S)."""
        return segmentation_loss(answers[0], labels, self.possible)


class ScaleSupervision(Supervision):
    """The weighted mean of the losses at every scale of the decoder; half the resolution counts half as much.

    Args:
        network: The network that computes the features.
        config: The run's configuration.

    Source: Lee et al., "Deeply-Supervised Nets", 1409.5185; weights as in nnU-Net, 1904.08128.
    """

    def __init__(self, network: LayeredNetwork, config: RunConfig) -> None:
        super().__init__(possible_classes(config.partial_labels, config.labels.classes))
        weight, size = next(network.parameters()), config.network.image_size
        features: list[Tensor] = []
        with torch.no_grad():
            network.eval()(torch.zeros(1, network.in_channels, size, size, device=weight.device), features)
        self.heads = nn.ModuleList(nn.Conv2d(each.shape[1], config.labels.classes, 1) for each in features)

    def answers(self, network: nn.Module, images: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        logits = network(images, features)
        return [logits, *(head(each) for head, each in zip(self.heads, features, strict=True))]

    def loss(self, answers: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Return the loss of the logits and of coarser answers, these against the labels at their pixels' centres."""
        logits, *coarse = answers
        total, weights = super().loss([logits], labels), 1.0
        for answer in coarse:
            step = labels.shape[-1] // answer.shape[-1]
            at_centres = labels[:, step // 2 :: step, step // 2 :: step]
            total, weights = total + super().loss([answer], at_centres) / step, weights + 1 / step
        return total / weights
