"""The segmentation loss: cross-entropy and soft Dice."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from embedded_vit.layers.enlarging import enlarged
from embedded_vit.training.processes import sum_over_processes

__all__ = ["at_size", "segmentation_loss", "soft_dice_loss"]

CROSS_ENTROPY_WEIGHT = 0.4  # the paper's; soft Dice has the rest


def at_size(logits: Tensor, size: int) -> Tensor:
    """Resize logits (B, K, T, T) to (B, K, S, S), bilinear with pixel centres aligned, as labelling does."""
    factor, rest = divmod(size, logits.shape[-1])
    if rest:
        return functional.interpolate(logits, size=(size, size), mode="bilinear", align_corners=False)
    return logits if factor == 1 else enlarged(logits, factor)


def segmentation_loss(logits: Tensor, labels: Tensor, possible: Tensor | None = None) -> Tensor:
    """Return 0.4 cross-entropy + 0.6 soft Dice, computed in float32.

    Args:
        logits: (B, K, T, T), any float dtype; enlarged to S where T is less.
        labels: (B, S, S) int64 in 0..K-1; with `possible` also codes of several classes.
        possible: (256, K) bool, the classes that each label may stand for; None where every label is one class.

    Returns:
        A scalar; over several processes its mean is the loss of the joined batch.

    Source: TransUNet, 2102.04306; weights from Embedded-ViT.
    """
    logits = logits.to(torch.float32, memory_format=torch.contiguous_format)  # one plane per class: sums are faster
    logits = at_size(logits, labels.shape[-1])
    logarithms = logits.log_softmax(dim=1)
    if possible is not None:
        return _partial_loss(logarithms, labels, possible)
    chosen = logarithms.gather(1, labels[:, None])  # (B, 1, S, S): of the true class
    dice = soft_dice_loss(logarithms, chosen, labels)
    return -CROSS_ENTROPY_WEIGHT * chosen.mean() + (1 - CROSS_ENTROPY_WEIGHT) * dice


def soft_dice_loss(logarithms: Tensor, chosen: Tensor, labels: Tensor) -> Tensor:
    """Return 1 - soft Dice with squared sums over the whole batch, averaged over all classes with the background.

    Args:
        logarithms: (B, K, S, S) float32, logarithms of probabilities.
        chosen: (B, 1, S, S), the logarithms of the true classes.
        labels: (B, S, S) int64.

    Returns:
        A scalar in [0, 1]. Dice is not a mean over samples, so several processes add up its sums.
    """
    sums_by_class = _masked_sums if logarithms.is_cuda else _indexed_sums
    overlap, count = sums_by_class(chosen.exp(), labels, logarithms.shape[1])
    squares = (2 * logarithms).exp_().sum(dim=(0, 2, 3))
    sums = torch.stack([overlap, count, squares])  # (3, K)
    overlap, count, squares = sum_over_processes(sums, used_alike=True)
    return 1 - ((2 * overlap + 1e-5) / (count + squares + 1e-5)).mean()


def _partial_loss(logarithms: Tensor, labels: Tensor, possible: Tensor) -> Tensor:
    """Return the loss where some labels stand for several classes.

    Cross-entropy is of the probability of all these classes together, and Dice leaves out the classes that a pixel may
    or may not be. A pixel that may be any class counts for nothing, and gets no gradient.

    Args:
        logarithms: (B, K, S, S) float32, logarithms of probabilities.
        labels: (B, S, S) int64.
        possible: (256, K) bool.

    Source: Shi et al., "Marginal loss and exclusion loss for partially supervised multi-organ segmentation",
        2007.03868, equation 3.
    """
    maybe = possible[labels].movedim(-1, 1)  # (B, K, S, S)
    certain = (maybe.sum(dim=1) == 1)[:, None]  # (B, 1, S, S)
    ignored = maybe.all(dim=1)  # (B, S, S)
    together = logarithms.masked_fill(~maybe, -torch.inf).logsumexp(dim=1).masked_fill(ignored, 0)
    is_class, doubtful = maybe & certain, maybe & ~certain
    probabilities = logarithms.exp().masked_fill(doubtful, 0)
    overlap = (probabilities * is_class).sum(dim=(0, 2, 3))
    count = is_class.sum(dim=(0, 2, 3)).to(overlap.dtype)
    squares = probabilities.square().sum(dim=(0, 2, 3))
    sums = torch.cat([overlap, count, squares, together.sum()[None], (~ignored).sum()[None].to(overlap.dtype)])
    sums = sum_over_processes(sums, used_alike=True)
    overlap, count, squares = sums[:-2].unflatten(0, (3, -1))
    cross_entropy = -sums[-2] / sums[-1].clamp(min=1)
    dice = 1 - ((2 * overlap + 1e-5) / (count + squares + 1e-5)).mean()
    return CROSS_ENTROPY_WEIGHT * cross_entropy + (1 - CROSS_ENTROPY_WEIGHT) * dice


def _indexed_sums(values: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return each class's sum of values (B, 1, S, S) and number of pixels in labels (B, S, S): (K,) and (K,)."""
    flat_labels = labels.flatten()
    sums = torch.zeros(classes, device=labels.device).index_add(0, flat_labels, values.flatten())
    return sums, torch.bincount(flat_labels, minlength=classes).to(values.dtype)


def _masked_sums(values: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return the same sums by one mask per class: a CUDA graph cannot hold `bincount`, and indexed sums collide."""
    masks = labels[:, None] == torch.arange(classes, device=labels.device)[:, None, None]  # (B, K, S, S)
    return (values * masks).sum(dim=(0, 2, 3)), masks.sum(dim=(0, 2, 3)).to(values.dtype)
