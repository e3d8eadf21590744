"""The importance of a channel: how much the loss would change without it, to first order, on real slices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embedded_vit.models.channels import ChannelGroup, channel_groups
from embedded_vit.training.losses import segmentation_loss

__all__ = ["channel_importance"]


def channel_importance(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], possible: Tensor | None = None
) -> dict[str, NDArray[np.float64]]:
    """Measure the importance of every channel of every group.

    Putting zeros in place of the weights w that read a channel removes it; to first order the loss L then changes by
    -sum(w dL/dw). A key and its query have no such weights: a factor 1 before exp(query) in the softmax becomes 0, and
    the derivative by that factor is the one by the query's bias. Changes are squared for each batch and averaged over
    batches, so that a channel counts that helps on one slice and harms on another. Where nothing but a product of two
    features reads channels, as in attentions of other people's networks, the weights that write them count in this way.

    Args:
        network: The network; not changed.
        batches: Images (B, C, S, S) and labels (B, S, S) int64; in small batches fewer effects cancel.
        possible: What each label may stand for, as `segmentation_loss` takes it.

    Returns:
        Group name -> (width,) squared changes of the loss, comparable between groups.

    Source: Molchanov et al., "Importance Estimation for Neural Network Pruning", 1906.10771, equation 8.
    """
    network.eval()
    groups = channel_groups(network)
    parameters = dict(network.named_parameters())
    importance = {name: np.zeros(group.width) for name, group in groups.items()}
    count = 0
    for images, labels in batches:
        loss = segmentation_loss(network(images), labels, possible)
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        gradients = {
            name: torch.zeros_like(parameter) if gradient is None else gradient
            for (name, parameter), gradient in zip(parameters.items(), found, strict=True)
        }
        for name, group in groups.items():
            change = _loss_change(group, parameters, gradients)
            importance[name] += change.square().double().cpu().numpy()
        count += 1
    return {name: total / count for name, total in importance.items()}


def _loss_change(group: ChannelGroup, parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> Tensor:
    """Return the derivative of the loss by a factor before each channel: (width,)."""
    change = torch.zeros(group.width, device=next(iter(gradients.values())).device)
    decisive = [axis for axis in group.axes if axis.role != "written"] or group.axes
    for axis in decisive:
        if axis.role == "gate":
            change += axis.by_channel(gradients[axis.parameter]).sum(dim=1)
        elif axis.parameter in parameters:
            change += axis.by_channel(parameters[axis.parameter].detach() * gradients[axis.parameter]).sum(dim=1)
    return change
