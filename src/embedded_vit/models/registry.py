"""Networks by name, by their architecture, or by a user's own class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn
from typing_extensions import Self

from embedded_vit.config import Config, nearest_name
from embedded_vit.errors import ConfigError, NetworkError
from embedded_vit.layers.feed_forward import Mixing
from embedded_vit.models.channels import keep_channels
from embedded_vit.models.embedded_vit import EmbeddedViT, check_image_size, check_widths
from embedded_vit.models.hybrid_vit import Coarsest, HybridViT, check_hybrid_size, check_hybrid_widths
from embedded_vit.models.layered_network import check_square
from embedded_vit.models.own_class import made, source_sha256
from embedded_vit.models.slim_unet import SlimUNet, check_unet_widths, unet_size_multiple
from embedded_vit.models.traced import TracedNetwork

__all__ = ["FAMILY", "NETWORKS", "PRESETS", "NetworkConfig", "build_network", "network_config", "source_changed"]

# As published.
NETWORKS: dict[str, dict[str, Any]] = {
    "embedded-vit-224": {"image_size": 224, "widths": (128, 320), "depth": 2},
    "embedded-vit-128": {"image_size": 128, "widths": (64, 160), "depth": 1},
    "embedded-vit-64": {"image_size": 64, "widths": (32, 80), "depth": 1},
    "embedded-vit-224-dense": {"image_size": 224, "widths": (128, 320), "depth": 2, "mixing": "dense"},
    "embedded-vit-128-dense": {"image_size": 128, "widths": (64, 160), "depth": 1, "mixing": "dense"},
    "embedded-vit-64-dense": {"image_size": 64, "widths": (32, 80), "depth": 1, "mixing": "dense"},
    "dae-former-224": {"image_size": 224, "widths": (128, 320, 512), "depth": 2},
}
# Ours. With few patients, more pixels gain more than more channels, and convolutions around the transformer gain more
# than either (docs/log/architecture.md).
OURS: dict[str, Any] = {"widths": (32, 80), "depth": 1, "convolution_widths": (12, 24)}
FAMILY: dict[str, dict[str, Any]] = {
    "embedded-vit-s": {"image_size": 64, **OURS},
    "embedded-vit-m": {"image_size": 128, **OURS},
    "embedded-vit-l": {"image_size": 192, **OURS},
}
# Made for milliseconds. In units of the latency of a U-Net with 16 channels at 64 pixels: 0.43, 0.84, 3.4 and 7.0
# (docs/log/architecture.md).
HYBRID: dict[str, Any] = {"family": "hybrid", "depth": 2, "hidden_ratio": 2, "stem_stride": 2}
HYBRIDS: dict[str, dict[str, Any]] = {
    "hybrid-xs": {"image_size": 80, "widths": (16, 32, 64, 128), **HYBRID},
    "hybrid-s": {"image_size": 128, "widths": (16, 32, 64, 128), **HYBRID},
    "hybrid-m": {"image_size": 256, "widths": (16, 32, 64, 128, 128), **HYBRID},
    "hybrid-l": {"image_size": 224, "widths": (32, 64, 128, 192), **HYBRID},
}
# The same without token blocks, which gained no Dice on any of three data sets (docs/log/architecture.md).
CONVOLUTIONAL = {name.replace("hybrid", "conv"): {**hybrid, "depth": 0} for name, hybrid in HYBRIDS.items()}
# Plain U-Nets to compare with.
UNETS: dict[str, dict[str, Any]] = {
    f"unet-{width}": {"image_size": 64, "family": "unet", "widths": tuple(width * factor for factor in (1, 2, 4, 8, 8))}
    for width in (8, 12, 16, 24, 32)
}
PRESETS = NETWORKS | FAMILY | HYBRIDS | CONVOLUTIONAL | UNETS

Family = Literal["dual", "hybrid", "unet"]
# The class of each family, and what it takes besides widths and numbers of channels.
CLASSES: dict[Family, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {
    "dual": (EmbeddedViT, ("depth", "hidden_ratio", "mixing", "convolution_widths")),
    "hybrid": (HybridViT, ("depth", "coarsest", "hidden_ratio", "stem_stride")),
    "unet": (SlimUNet, ()),
}


# Far above any network of use; what is larger overflows or fills the memory before it is noticed.
MOST = {"image_size": 8192, "widths": 8192, "convolution_widths": 8192, "depth": 256, "hidden_ratio": 64,
        "in_channels": 1024, "classes": 256}  # fmt: skip
MOST_KEPT = MOST["widths"] * MOST["hidden_ratio"]
MOST_PARAMETERS = 1 << 30  # 4 GiB of weights


class NetworkConfig(Config):
    """The description from which a network can be built again."""

    name: str = Field(default="custom", description="the preset that it started from, or a name of the user's")
    image_size: int = Field(description="S, the side of the square input")
    family: Family = Field(default="dual", description="dual attention as published, hybrid, or a plain U-Net")
    widths: tuple[int, ...] = Field(default=(), description="channels of every stage or level, finest first")
    depth: int = Field(default=1, ge=0, description="dual blocks in every encoder stage; hybrid: token blocks in all")
    hidden_ratio: int = Field(
        default=4, ge=1, description="hidden width of the feed-forward layers over that of the stage"
    )
    mixing: Mixing = Field(default="depthwise", description="dual: convolution of the feed-forward layers")
    coarsest: Coarsest = Field(default="attention", description="hybrid: blocks at the coarsest level")
    stem_stride: Literal[1, 2, 4] = Field(default=1, description="hybrid: pixels of the image for one of the logits")
    convolution_widths: tuple[int, ...] = Field(
        default=(), description="channels of convolution stages around the transformer, at full and half resolution"
    )
    in_channels: int = Field(
        default=3, ge=1, description="channels of the stem; a single grey channel is always accepted too"
    )
    classes: int = Field(ge=2, description="K, background included")
    kept_channels: dict[str, int] = Field(
        default_factory=dict,
        description="number of channels left in each group that was pruned; see models/channels.py",
    )
    model: str | None = Field(default=None, description="package.module:Class of a user's own network")
    options: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="further arguments of a user's own class"
    )
    model_sha256: str | None = Field(default=None, description="of the file that defines a user's own class")

    @property
    def output_stride(self) -> int:
        """Pixels of the image's side for one of the logits' side."""
        return self.stem_stride

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if max(self.kept_channels.values(), default=1) > MOST_KEPT:
            raise ValueError(f"kept_channels: at most {MOST_KEPT:,} of each group are expected")
        if self.model is not None:
            return self
        for name, most in MOST.items():
            given = getattr(self, name)
            if max(given if isinstance(given, tuple) else (given,), default=0) > most:
                raise ValueError(f"{name} {given}: at most {most:,} is expected")
        if not self.widths:
            raise ValueError("widths are missing")
        side, levels = self.image_size, len(self.widths)
        if self.family != "dual" and self.convolution_widths:
            raise ValueError("convolution_widths are for the dual family")
        if self.family != "hybrid" and self.stem_stride != 1:
            raise ValueError("stem_stride is for the hybrid family")
        if self.family == "hybrid":
            check_hybrid_widths(self.widths)
            check_hybrid_size(side, side, levels=levels, stem_stride=self.stem_stride)
        elif self.family == "unet":
            check_unet_widths(self.widths)
            check_square(side, side, multiple=unet_size_multiple(levels))
        else:
            check_widths(self.widths, self.convolution_widths)
            check_image_size(side, side, stages=levels)
            if self.depth < 1:
                raise ValueError("the dual family needs a depth of at least 1")
        return self


def network_config(
    name: str | None = None, *, classes: int, in_channels: int = 3, **architecture: Any
) -> NetworkConfig:
    """Describe a network by a preset's name, by its architecture, or by both; the architecture overrides the preset.

    Args:
        name: A key of `PRESETS`; None if `architecture` describes the whole network.
        classes: K, background included.
        in_channels: Channels of the network's stem; one grey channel counts as three copies in the published networks.
        **architecture: image_size, family, widths, depth, hidden_ratio, mixing, coarsest, stem_stride,
            convolution_widths, model, options; None counts as not given.

    Raises:
        ConfigError: The name or a hyperparameter is unknown, or the image size is missing.
    """
    given = {key: value for key, value in architecture.items() if value is not None}
    if name is not None and name not in PRESETS:
        raise ConfigError(f"unknown network '{name}'{nearest_name(name, PRESETS)}")
    if name is None and "model" not in given and not {"image_size", "widths"} <= set(given):
        raise ConfigError("describe a network by --network NAME, by --image-size and --widths, or by --model")
    preset = PRESETS[name] if name is not None else {}
    values = {"name": name or given.get("model") or "custom", **preset, **given}
    if "model" in given:
        values["model_sha256"] = source_sha256(given["model"])
    elif given.get("options"):
        raise ConfigError("--model-options are for a network of your own; give --model too")
    return NetworkConfig.parse({**values, "classes": classes, "in_channels": in_channels}, source="network")


def build_network(config: NetworkConfig) -> nn.Module:
    """Build a network with fresh initial values.

    A user's own class is imported and called with `in_channels`, `classes`, `image_size` and its options. A pruned
    network is built with its first widths, and then as many channels are removed; a user's own is traced for it.

    Raises:
        NetworkError: The class cannot be imported or is not an nn.Module; the architecture or the kept channels do not
            fit.
    """
    if config.model is not None:
        sizes = {"in_channels": config.in_channels, "classes": config.classes, "image_size": config.image_size}
        network: nn.Module = made(config.model, config.options, **sizes)
    else:
        if most_parameters(config) > MOST_PARAMETERS:
            _check_parameters(config)
        network = _fresh(config)
    if config.model is not None and config.kept_channels:
        network = TracedNetwork.of(network, (config.in_channels, config.image_size, config.image_size))
    if config.kept_channels:
        keep_channels(network, {name: range(width) for name, width in config.kept_channels.items()})
    return network


def _check_parameters(config: NetworkConfig) -> None:
    """Count the parameters of a large network, and refuse what does not fit into memory."""
    with torch.random.fork_rng(devices=()), torch.device("meta"):  # which has shapes and no memory
        parameters = sum(parameter.numel() for parameter in _fresh(config).parameters())
    if parameters > MOST_PARAMETERS:
        raise NetworkError(f"a network of {parameters:.3g} parameters; at most {MOST_PARAMETERS:,} are expected")


def _fresh(config: NetworkConfig) -> nn.Module:
    """Make a network of this package as its widths say, before anything is pruned."""
    made_by, hyperparameters = CLASSES[config.family]
    options = {name: getattr(config, name) for name in hyperparameters}
    return made_by(config.widths, in_channels=config.in_channels, classes=config.classes, **options)


def most_parameters(config: NetworkConfig) -> int:
    """Return a number that the parameters of a network of this package stay below, without making it.

    As if every layer of every block were a convolution of 3 x 3 between its largest numbers of channels, beside a stem
    of 7 x 7.
    """
    widest = max((*config.widths, *config.convolution_widths, config.classes))
    inside = widest * max(config.hidden_ratio, 4)  # what patches are expanded to, and what skips are joined to
    blocks = (config.depth + 3) * (len(config.widths) + len(config.convolution_widths) + 1)
    return 8 * blocks * (9 * inside * inside + 4 * inside) + 49 * config.in_channels * widest


def source_changed(config: NetworkConfig) -> bool:
    """Whether the file that defines a user's own class is another one than when the network was described."""
    return config.model is not None and config.model_sha256 not in (None, source_sha256(config.model))
