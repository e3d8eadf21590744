"""What the loss looks at: the network's answer alone, those of its coarser features too, or mixtures of them all.

Heads on coarser features and what mixes them are trained beside the network and thrown away with the training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import combinations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from embedded_vit.errors import ConfigError
from embedded_vit.models.embedded_vit import EmbeddedViT
from embedded_vit.training.hooks import Batch
from embedded_vit.training.losses import segmentation_loss
from embedded_vit.training.settings import RunConfig

__all__ = ["MixtureSupervision", "ScaleSupervision", "Supervision", "make_supervision"]

DRAWN = 8  # mixtures a step

Mixer = Callable[[list[Tensor], int], Tensor]  # logits of some scales, and which subset of all they are


def make_supervision(network: nn.Module, config: RunConfig) -> Supervision:
    """What a run's settings ask for.

    Raises:
        ConfigError: Coarser features of a user's own network, which nobody has described.
    """
    kind = config.training.supervision
    if kind == "finest":
        return Supervision()
    if not isinstance(network, EmbeddedViT):
        raise ConfigError(f"--supervision {kind}: coarser features are known of this package's networks only")
    return {"scales": ScaleSupervision, "mixtures": MixtureSupervision}[kind](network, config)


class Supervision(nn.Module):
    """The loss of the network's own answer."""

    def forward(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """A network and a batch -> logits (B, K, S, S) and the loss, a scalar."""
        with batch.autocast():
            logits = network(batch.images)
        return logits, segmentation_loss(logits, batch.labels)


class ScaleSupervision(Supervision):
    """The mean loss of answers at every scale on the way up; one half as fine counts half as much.

    Args:
        network: Where the features come from.
        config: The run's configuration.

    Source: Lee et al., "Deeply-Supervised Nets", 1409.5185; weights as in nnU-Net, 1904.08128.
    """

    def __init__(self, network: EmbeddedViT, config: RunConfig) -> None:
        super().__init__()
        weight, size = next(network.parameters()), config.network.image_size
        features: list[Tensor] = []
        with torch.no_grad():
            network.eval()(torch.zeros(1, network.in_channels, size, size, device=weight.device), features)
        self.heads = nn.ModuleList(nn.Conv2d(each.shape[1], config.labels.classes, 1) for each in features)

    def forward(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        features: list[Tensor] = []
        with batch.autocast():
            logits = network(batch.images, features)
            coarse = [head(each) for head, each in zip(self.heads, features, strict=True)]
        return logits, self.loss([*coarse, logits], batch)

    def loss(self, answers: Sequence[Tensor], batch: Batch) -> Tensor:
        """Answers (B, K, T, T), T from coarse to S -> a scalar; labels are those at the answers' pixel centres."""
        size, total, weights = batch.labels.shape[-1], torch.zeros((), device=batch.labels.device), 0.0
        for answer in answers:
            step = size // answer.shape[-1]
            labels = batch.labels[:, step // 2 :: step, step // 2 :: step]
            total, weights = total + segmentation_loss(answer, labels) / step, weights + 1 / step
        return total / weights


class MixtureSupervision(ScaleSupervision):
    """The losses of all answers, enlarged, and of mixtures of two or more: sums, products, joined and gated ones.

    The network's own answer has the weight 1; every other one has a weight of its own that is learned. Some of the
    mixtures are drawn in each step and stand for all.

    Source: Rahman and Marculescu, "LoMix", 2510.22995, which computes all mixtures in every step.
    """

    def __init__(self, network: EmbeddedViT, config: RunConfig) -> None:
        super().__init__(network, config)
        classes, scales = config.labels.classes, range(len(self.heads) + 1)
        self.seed = config.training.seed
        self.subsets = [subset for count in scales[1:] for subset in combinations(scales, count + 1)]
        self.joins = nn.ModuleList(nn.Conv2d(classes * len(subset), classes, 1) for subset in self.subsets)
        self.gates = nn.ModuleList(nn.Conv2d(classes * len(subset), len(subset), 1) for subset in self.subsets)
        self.coarse_weights = nn.Parameter(torch.zeros(len(self.heads)))
        self.mixture_weights = nn.Parameter(torch.zeros(len(self.subsets), len(self._mixers)))

    def loss(self, answers: Sequence[Tensor], batch: Batch) -> Tensor:
        """Answers (B, K, T, T), T from coarse to S -> a scalar."""
        size = batch.labels.shape[-1]
        answers = [functional.interpolate(answer.float(), size=(size, size), mode="bilinear") for answer in answers]
        total = segmentation_loss(answers[-1], batch.labels)
        for weight, answer in zip(functional.softplus(self.coarse_weights), answers, strict=False):
            total = total + weight * segmentation_loss(answer, batch.labels)
        weights = functional.softplus(self.mixture_weights)  # (subsets, mixers)
        drawn = min(DRAWN, weights.numel())
        for index in np.random.default_rng((self.seed, batch.step)).choice(weights.numel(), drawn, replace=False):
            place, mixer = divmod(int(index), len(self._mixers))
            mixture = self._mixers[mixer]([answers[scale] for scale in self.subsets[place]], place)
            share = len(self._mixers) / drawn  # the mean over all subsets of each mixer
            total = total + share * weights[place, mixer] * segmentation_loss(mixture, batch.labels)
        return total

    @property
    def _mixers(self) -> tuple[Mixer, ...]:
        return (_sum, _product, self._joined, self._gated)

    def _joined(self, parts: list[Tensor], place: int) -> Tensor:
        return self.joins[place](torch.cat(parts, dim=1))

    def _gated(self, parts: list[Tensor], place: int) -> Tensor:
        """Every pixel takes of each part what a gate lets through."""
        gates = self.gates[place](torch.cat(parts, dim=1)).softmax(dim=1)  # (B, parts, S, S)
        return _sum([gate[:, None] * part for gate, part in zip(gates.unbind(1), parts, strict=True)])


def _sum(parts: list[Tensor], place: int = 0) -> Tensor:
    return reduce(torch.add, parts)


def _product(parts: list[Tensor], place: int) -> Tensor:
    return reduce(torch.mul, parts)
