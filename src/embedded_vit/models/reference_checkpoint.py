"""The authors' `.pth` files: their tensor names become ours, and their dead weights are dropped.

About three quarters of a published Embedded-ViT checkpoint never take part in its forward pass: a third encoder stage,
the whole decoder around the coarsest patch expanding, and two of the three norms of every feed-forward layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from embedded_vit.boundary import one_line_errors
from embedded_vit.config import nearest_name
from embedded_vit.errors import CheckpointError
from embedded_vit.models.registry import NetworkConfig, build_network, network_config

__all__ = ["is_dead", "load_reference", "read_reference_file", "reference_name", "to_reference"]

# Inside blocks and layers, ours -> theirs, applied in this order.
_INNER_NAMES = (
    (r"\bcross_attention\.norm_inputs\b", "cross_attn.norm1"),
    (r"\bcross_attention\.reprojection\b", "cross_attn.attn.reprojection"),
    (r"\bcross_attention\.norm_attended\b", "cross_attn.attn.norm"),
    (r"\bcross_attention\.norm\b", "cross_attn.norm2"),
    (r"\bcross_attention\.feed_forward\b", "cross_attn.mlp"),
    (r"\bchannel_attention\.projection\b", "channel_attn.proj"),
    (r"\bchannel_attention\b", "channel_attn"),
    (r"\battention\b", "attn"),
    (r"\bfeed_forward(\d)\b", r"mlp\1"),
    (r"\b(mlp\d?)\.norm\b", r"\1.norm1"),
    (r"\b(mlp\d?)\.convolution\b", r"\1.dwconv.dwconv"),
    (r"\blinear_below\b", "x1_linear"),
    (r"\blinear_joined\b", "concat_linear"),
    (r"\bexpand\.expand\b", "layer_up.expand"),
    (r"\bexpand\.norm\b", "layer_up.norm"),
)
_DEAD = re.compile(r"\.mlp\d?\.norm[23]\.|^decoder_2\.(?!layer_up\.)")
_DEAD_IN_TWO_STAGES = re.compile(r"^backbone\.(patch_embed3|block3|norm3)\.")


def reference_name(name: str, *, stages: int) -> str:
    """Return the authors' name of one of our parameters.

    Args:
        name: The name in our state dict, for example "encoder.0.blocks.1.attention.keys.weight".
        stages: 2 for Embedded-ViT, 3 for DAE-Former, which counts its decoders differently.
    """
    for ours, theirs in _INNER_NAMES:
        name = re.sub(ours, theirs, name)
    finest = 3 - stages  # the finest decoder is decoder_1 in Embedded-ViT and decoder_0 in DAE-Former
    name = re.sub(r"^layer_up", "decoder_2.layer_up", name)
    name = re.sub(r"^head", f"decoder_{finest}.last_layer", name)
    name = re.sub(r"^decoder\.(\d+)\.", lambda match: f"decoder_{finest + stages - 2 - int(match[1])}.", name)
    name = re.sub(r"^(decoder_\d\.)blocks\.(\d)", lambda match: f"{match[1]}layer_former_{int(match[2]) + 1}", name)
    return re.sub(r"^encoder\.(\d)\.(.*)", lambda match: _encoder_name(int(match[1]) + 1, match[2]), name)


def _encoder_name(stage: int, rest: str) -> str:
    rest = re.sub(r"^embedding\.projection", f"patch_embed{stage}.proj", rest)
    rest = re.sub(r"^embedding\.norm", f"patch_embed{stage}.norm", rest)
    rest = re.sub(r"^blocks\b", f"block{stage}", rest)
    return "backbone." + re.sub(r"^norm\b", f"norm{stage}", rest)


def load_reference(network_name: str, state_dict: Mapping[str, Any], *, classes: int | None = None) -> nn.Module:
    """Build one of the published networks with the authors' weights.

    Args:
        network_name: A key of `NETWORKS`.
        state_dict: The authors' tensors by name, with or without a `module.` prefix, possibly under a `state_dict` key.
        classes: K; by default as many as the checkpoint has.

    Returns:
        Our network, with the live parameters only.

    Raises:
        CheckpointError: Tensors are missing, have another shape, or are neither live nor known to be dead; named.
    """
    tensors = _tensors(state_dict)
    heads = [tensor for name, tensor in tensors.items() if name.endswith(".last_layer.bias")]
    config = network_config(network_name, classes=classes or (heads[0].numel() if heads else 9))
    network = build_network(config)
    load_into(network, config, tensors)
    return network


def load_into(network: nn.Module, config: NetworkConfig, state_dict: Mapping[str, Any]) -> None:
    """Copy the authors' weights into a network built from `config`; errors as `load_reference`."""
    tensors = _tensors(state_dict)
    stages = len(config.widths)
    ours = network.state_dict()
    theirs = {reference_name(name, stages=stages): name for name in ours}
    if missing := [name for name in theirs if name not in tensors]:
        raise CheckpointError(f"not a checkpoint of {config.name}: {_some(missing)} missing")
    unknown = [name for name in tensors if name not in theirs and not is_dead(name, stages=stages)]
    if unknown:
        raise CheckpointError(
            f"not a checkpoint of {config.name}: {_some(unknown)} unknown{nearest_name(unknown[0], theirs)[:120]}"
        )
    loaded = {}
    for their_name, name in theirs.items():
        tensor, expected = tensors[their_name], ours[name].shape
        if tensor.shape not in (expected, (*expected, 1, 1)):  # 1 x 1 convolutions are linear layers here
            raise CheckpointError(
                f"not a checkpoint of {config.name}: {their_name} has shape {tuple(tensor.shape)}, "
                f"expected {tuple(expected)}"
            )
        loaded[name] = tensor.reshape(expected)
    network.load_state_dict(loaded)


def to_reference(network: nn.Module, *, stages: int) -> dict[str, Tensor]:
    """Return our live parameters under the authors' names, with the shapes of their 1 x 1 convolutions."""
    convolutions = re.compile(r"\.(keys|queries|values|reprojection|last_layer)\.weight$")
    tensors = {}
    for name, tensor in network.state_dict().items():
        theirs = reference_name(name, stages=stages)
        tensors[theirs] = tensor[..., None, None] if convolutions.search(theirs) else tensor
    return tensors


def read_reference_file(path: str | Path) -> dict[str, Tensor]:
    """Read the authors' `.pth` file without running anything that it holds.

    Raises:
        CheckpointError: The file is missing, damaged, or holds more than tensors.
    """
    what = "cannot be read as a state dict of tensors"
    with one_line_errors(path, CheckpointError, what=what, advice="give the authors' .pth file, or a run folder"):
        content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: expected a state dict of tensors, got {type(content).__name__}")
    return _tensors(content)


def _tensors(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    inner = state_dict.get("state_dict", state_dict)
    if not isinstance(inner, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in inner.items()
    ):
        raise CheckpointError("expected a state dict: tensors by name, at the top or under 'state_dict'")
    return {name.removeprefix("module."): tensor for name, tensor in inner.items()}


def is_dead(name: str, *, stages: int) -> bool:
    """Return whether the authors' forward pass never uses this tensor of theirs; `stages` as in `reference_name`."""
    return bool(_DEAD.search(name) or (stages == 2 and _DEAD_IN_TWO_STAGES.search(name)))


def _some(names: list[str]) -> str:
    return (
        ", ".join(names[:3])
        + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        + (" is" if len(names) == 1 else " are")
    )
