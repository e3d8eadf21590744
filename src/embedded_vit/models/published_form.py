"""The published form of the networks, as the paper describes it: every product is computed for each token.

Tests compare the folded form that runs with this one. It is slow on purpose.
Shape legend: B batch, N = H x W tokens, C channels, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from embedded_vit.models.registry import NetworkConfig

__all__ = ["PublishedForm", "why_unpublished"]


def why_unpublished(config: NetworkConfig) -> str:
    """Return why a network has no published form; an empty text if it has one."""
    if config.model is not None:
        return "it is a user's own class"
    if config.kept_channels:
        return "channels were removed from it"
    if config.convolution_widths:
        return "it has convolutions around the transformer"
    return ""


class PublishedForm:
    """Embedded-ViT (two stages) or DAE-Former (three) as a function of the authors' tensors by their own names.

    Args:
        state_dict: The authors' live tensors, for example from `to_reference`; gradients flow into them.

    Source: DAE-Former, 2212.13504; Embedded-ViT (Ostrowski and Shafique, ISVC 2024).
    """

    def __init__(self, state_dict: Mapping[str, Tensor]) -> None:
        self.tensors = dict(state_dict)
        self.stages = len({key.split(".")[0] for key in self.tensors if key.startswith("decoder")})

    def __call__(self, image: Tensor) -> Tensor:
        """Segment images: (B, 1 or 3, S, S) in [-1, 1] -> logits (B, K, S, S)."""
        skips = self._encode(image)
        tokens = self._expand("decoder_2.layer_up", *skips.pop(), scale=2)
        name = ""
        for number in (1,) if self.stages == 2 else (1, 0):
            skip, height, width = skips.pop()
            name = f"decoder_{number}"
            tokens = self._linear(f"{name}.x1_linear", tokens)
            tokens = self._cross_attention(f"{name}.cross_attn", tokens, skip, height, width)
            tokens = self._linear(f"{name}.concat_linear", tokens)
            for index in (1, 2):
                tokens = self._block(f"{name}.layer_former_{index}", tokens, height, width)
            tokens = self._expand(f"{name}.layer_up", tokens, height, width, scale=2 if skips else 4)
        return self._convolution(f"{name}.last_layer", _to_image(tokens, 4 * height, 4 * width))

    def _encode(self, image: Tensor) -> list[tuple[Tensor, int, int]]:
        """Return tokens (B, N, C), H and W of every stage, finest first."""
        if image.shape[1] == 1:
            image = image.repeat(1, self.tensors["backbone.patch_embed1.proj.weight"].shape[1], 1, 1)
        skips = []
        for stage in range(1, self.stages + 1):
            kernel, stride = (7, 4) if stage == 1 else (3, 2)
            image = self._convolution(f"backbone.patch_embed{stage}.proj", image, stride=stride, padding=kernel // 2)
            height, width = image.shape[2:]
            tokens = self._norm(f"backbone.patch_embed{stage}.norm", _to_tokens(image))
            blocks = {match[0] for key in self.tensors if (match := re.match(rf"backbone\.block{stage}\.\d+", key))}
            for index in range(len(blocks)):
                tokens = self._block(f"backbone.block{stage}.{index}", tokens, height, width)
            tokens = self._norm(f"backbone.norm{stage}", tokens)
            skips.append((tokens, height, width))
            image = _to_image(tokens, height, width)
        return skips

    def _linear(self, name: str, tokens: Tensor) -> Tensor:
        return functional.linear(tokens, self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"))

    def _norm(self, name: str, tokens: Tensor) -> Tensor:
        weight = self.tensors[f"{name}.weight"]
        return functional.layer_norm(tokens, weight.shape, weight, self.tensors[f"{name}.bias"], 1e-5)

    def _convolution(self, name: str, image: Tensor, **options: int) -> Tensor:
        return functional.conv2d(image, self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"), **options)

    def _block(self, name: str, tokens: Tensor, height: int, width: int) -> Tensor:
        normed = _to_image(self._norm(f"{name}.norm1", tokens), height, width)
        keys, queries, values = (
            self._convolution(f"{name}.attn.{part}", normed).flatten(2) for part in ("keys", "queries", "values")
        )
        attended = _efficient_attention(keys, queries, values).reshape(normed.shape)  # (B, C, H, W)
        tokens = tokens + _to_tokens(self._convolution(f"{name}.attn.reprojection", attended))
        tokens = tokens + self._feed_forward(f"{name}.mlp1", self._norm(f"{name}.norm2", tokens), height, width)
        tokens = tokens + self._channel_attention(f"{name}.channel_attn", self._norm(f"{name}.norm3", tokens))
        return tokens + self._feed_forward(f"{name}.mlp2", self._norm(f"{name}.norm4", tokens), height, width)

    def _channel_attention(self, name: str, tokens: Tensor) -> Tensor:
        batch, count, channels = tokens.shape
        qkv = self._linear(f"{name}.qkv", tokens).reshape(batch, count, 3, 8, channels // 8)
        query, key, value = qkv.permute(2, 0, 3, 4, 1)  # each (B, 8 heads, C / 8, N)
        query, key = functional.normalize(query, dim=-1), functional.normalize(key, dim=-1)
        weights = (query @ key.transpose(2, 3) * self.tensors[f"{name}.temperature"]).softmax(dim=-1)
        attended = (weights @ value).permute(0, 3, 1, 2).reshape(batch, count, channels)
        return self._linear(f"{name}.proj", attended)

    def _feed_forward(self, name: str, tokens: Tensor, height: int, width: int) -> Tensor:
        image = _to_image(self._linear(f"{name}.fc1", tokens), height, width)
        groups = image.shape[1] if self.tensors[f"{name}.dwconv.dwconv.weight"].shape[1] == 1 else 1
        mixed = _to_tokens(self._convolution(f"{name}.dwconv.dwconv", image, padding=1, groups=groups))
        normed = self._norm(f"{name}.norm1", mixed + self._linear(f"{name}.fc1", tokens))
        return self._linear(f"{name}.fc2", functional.gelu(normed))

    def _cross_attention(self, name: str, upsampled: Tensor, skip: Tensor, height: int, width: int) -> Tensor:
        values, source = (self._norm(f"{name}.norm1", part).transpose(1, 2) for part in (upsampled, skip))
        attended = _efficient_attention(source, source, values).unflatten(2, (height, width))
        attended = _to_tokens(self._convolution(f"{name}.attn.reprojection", attended))
        joined = torch.cat([upsampled, skip], dim=2) + self._norm(f"{name}.attn.norm", attended)  # (B, N, 2 C)
        return joined + self._feed_forward(f"{name}.mlp", self._norm(f"{name}.norm2", joined), height, width)

    def _expand(self, name: str, tokens: Tensor, height: int, width: int, *, scale: int) -> Tensor:
        expanded = self._linear(f"{name}.expand", tokens)
        expanded = expanded.reshape(len(tokens), height, width, scale, scale, -1)  # (B, H, W, row, column, C)
        expanded = expanded.permute(0, 1, 3, 2, 4, 5)  # (B, H, row, W, column, C)
        return self._norm(f"{name}.norm", expanded.reshape(len(tokens), scale * scale * height * width, -1))


def _efficient_attention(keys: Tensor, queries: Tensor, values: Tensor) -> Tensor:
    """Attend with keys, queries and values (B, C, N) each: -> (B, C, N)."""
    context = keys.softmax(dim=2) @ values.transpose(1, 2)  # (B, C, C)
    return context.transpose(1, 2) @ queries.softmax(dim=1)


def _to_tokens(image: Tensor) -> Tensor:
    """Turn an image into tokens: (B, C, H, W) -> (B, N, C)."""
    return image.flatten(2).transpose(1, 2)


def _to_image(tokens: Tensor, height: int, width: int) -> Tensor:
    """Turn tokens into an image: (B, N, C) -> (B, C, H, W)."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)
