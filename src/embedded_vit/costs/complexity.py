"""Parameters and multiply-accumulates of a network, in the form that runs and in the published form.

The layers of this package declare their MACs themselves (`EmbeddedViT.macs`). For a user's own network PyTorch counts
them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from embedded_vit.layers.dual_block import DualBlock
from embedded_vit.layers.feed_forward import MixFeedForward
from embedded_vit.layers.patches import PatchEmbedding
from embedded_vit.models.embedded_vit import DecoderStage, EmbeddedViT
from embedded_vit.models.layered_network import LayeredNetwork
from embedded_vit.models.published_form import why_unpublished
from embedded_vit.models.registry import NETWORKS, NetworkConfig, build_network

__all__ = ["Complexity", "complexity", "counted_macs", "published_parameters"]

# The published checkpoints of two-stage networks hold layers that they never use. Image size -> the width of a third
# encoder stage, and the width that the decoder at the coarsest level would take from below.
DEAD_WIDTHS = {224: (512, 256), 128: (256, 160), 64: (128, 80)}


@dataclass(frozen=True)
class Complexity:
    """Costs of one image, batch 1.

    Attributes:
        parameters: Parameters of the network in this package.
        published_parameters: Parameters of the authors' checkpoint, dead weights included; None for other networks.
        macs: Multiply-accumulates of the form that runs.
        naive_macs: Multiply-accumulates of the published form; None for networks without one.
    """

    parameters: int
    published_parameters: int | None
    macs: int
    naive_macs: int | None


def complexity(config: NetworkConfig, *, input_channels: int = 1) -> Complexity:
    """Count parameters and multiply-accumulates of a network.

    Args:
        config: The network.
        input_channels: Channels of the image; 1 is a grey image, which the network repeats to 3 channels.
    """
    if config.model is not None:
        parameters, macs = _counted(config, input_channels)
        return Complexity(parameters, None, macs, None)
    with torch.device("meta"):
        network = build_network(config)
    assert isinstance(network, LayeredNetwork)
    naive_macs = None
    if isinstance(network, EmbeddedViT) and not why_unpublished(config):
        naive_macs = network.macs(config.image_size, published=True)
    return Complexity(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        published_parameters=published_parameters(config),
        macs=network.macs(config.image_size, input_channels=input_channels),
        naive_macs=naive_macs,
    )


def counted_macs(config: NetworkConfig, *, input_channels: int = 1) -> int:
    """Count the multiply-accumulates of one image with PyTorch, while the network runs on shapes without numbers.

    Source: half of what torch's FlopCounterMode counts, which is convolutions and matrix products.
    """
    return _counted(config, input_channels)[1]


def _counted(config: NetworkConfig, input_channels: int) -> tuple[int, int]:
    """Return parameters and multiply-accumulates of any network."""
    with torch.random.fork_rng(devices=[]):  # counting leaves the random numbers of a training as they are
        network = build_network(config).eval()  # with numbers, which initial values like trunc_normal_ look at
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        image = torch.zeros(1, input_channels, config.image_size, config.image_size)
        with FlopCounterMode(display=False) as counter:
            network(image)
    return sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() // 2


def published_parameters(config: NetworkConfig) -> int | None:
    """Count the parameters of the authors' checkpoint, including those that its forward pass never uses.

    Returns:
        The number; None for a network that is not a published one.
    """
    preset = NETWORKS.get(config.name)
    if preset is None or config.kept_channels or any(getattr(config, key) != value for key, value in preset.items()):
        return None
    coarsest, mixing, ratio = config.widths[-1], config.mixing, config.hidden_ratio
    with torch.device("meta"):
        network = build_network(config)
        two_stages = len(config.widths) == 2
        width, below = DEAD_WIDTHS[config.image_size] if two_stages else (0, coarsest)
        decoder = DecoderStage(below, coarsest, ratio * coarsest, mixing, scale=1)
        everything = nn.ModuleList([network, decoder])
        if two_stages:
            everything.extend(DualBlock(width, ratio * width, mixing) for _ in range(config.depth))
            everything.extend([PatchEmbedding(coarsest, width, kernel_size=3, stride=2), nn.LayerNorm(width)])
    total = sum(parameter.numel() for parameter in everything.parameters())
    # Two of the three norms of each feed-forward layer are dead: a weight and a bias each, as wide as the hidden layer.
    hidden = sum(module.fc1.out_features for module in everything.modules() if isinstance(module, MixFeedForward))
    return total + 4 * hidden
