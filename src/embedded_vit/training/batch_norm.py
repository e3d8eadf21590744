"""Batch norms over the joined batch of several processes, as in a single process."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from embedded_vit.training.processes import sum_over_processes

__all__ = ["share_batch_norms"]


def share_batch_norms(network: nn.Module) -> None:
    """Let every batch norm of a network in training see the images of all processes.

    It works on every device and computes in float32. PyTorch's own SyncBatchNorm works on GPUs only.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.forward = partial(_normed, module)  # type: ignore[method-assign]


def _normed(norm: nn.BatchNorm2d, images: Tensor) -> Tensor:
    """Normalise images (B, C, H, W) over B, H and W of all processes."""
    if not norm.training:
        return nn.BatchNorm2d.forward(norm, images)
    values = images.float()
    pixels = values.new_full((norm.num_features,), values.numel() / norm.num_features)
    sums = torch.stack([pixels, values.sum(dim=(0, 2, 3)), values.square().sum(dim=(0, 2, 3))])  # (3, C)
    pixels, total, squares = sum_over_processes(sums)
    mean = total / pixels
    variance = squares / pixels - mean.square()
    _remember(norm, mean, variance * pixels / (pixels - 1))
    scale = norm.weight * (variance + norm.eps).rsqrt()
    shift = norm.bias - mean * scale
    return (values * scale[:, None, None] + shift[:, None, None]).to(images.dtype)


@torch.no_grad()
def _remember(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Move the statistics for inference towards those of this batch."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance, norm.momentum)
    norm.num_batches_tracked += 1
