"""The published form of the networks, straight from the paper's description: the oracle of the folded one.

A function of the authors' tensors by their own names; slow on purpose, every product written out a token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional


class NaiveNetwork:
    """Embedded-ViT (two stages) or DAE-Former (three), from a state dict in the authors' names."""

    def __init__(self, state_dict: Mapping[str, Tensor]) -> None:
        self.tensors = dict(state_dict)
        self.stages = len({key.split(".")[0] for key in self.tensors if key.startswith("decoder")})

    def __call__(self, image: Tensor) -> Tensor:
        """(B, 1 or 3, S, S) -> (B, K, S, S)."""
        if image.shape[1] == 1:
            image = image.repeat(1, self.tensors["backbone.patch_embed1.proj.weight"].shape[1], 1, 1)
        skips = []
        for stage in range(1, self.stages + 1):
            kernel, stride = (7, 4) if stage == 1 else (3, 2)
            image = self.convolution(f"backbone.patch_embed{stage}.proj", image, stride=stride, padding=kernel // 2)
            height, width = image.shape[2:]
            tokens = self.norm(f"backbone.patch_embed{stage}.norm", image.flatten(2).transpose(1, 2))
            depth = len({match[0] for key in self.tensors if (match := re.match(rf"backbone\.block{stage}\.\d+", key))})
            for index in range(depth):
                tokens = self.block(f"backbone.block{stage}.{index}", tokens, height, width)
            tokens = self.norm(f"backbone.norm{stage}", tokens)
            skips.append((tokens, height, width))
            image = tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)
        tokens = self.expand("decoder_2.layer_up", *skips.pop(), scale=2)
        for number in (1,) if self.stages == 2 else (1, 0):
            skip, height, width = skips.pop()
            name = f"decoder_{number}"
            tokens = self.linear(f"{name}.x1_linear", tokens)
            tokens = self.cross_attention(f"{name}.cross_attn", tokens, skip, height, width)
            tokens = self.linear(f"{name}.concat_linear", tokens)
            for index in (1, 2):
                tokens = self.block(f"{name}.layer_former_{index}", tokens, height, width)
            tokens = self.expand(f"{name}.layer_up", tokens, height, width, scale=2 if skips else 4)
        image = tokens.transpose(1, 2).reshape(len(tokens), -1, 4 * height, 4 * width)
        return self.convolution(f"{name}.last_layer", image)

    def linear(self, name: str, tokens: Tensor) -> Tensor:
        return functional.linear(tokens, self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"))

    def norm(self, name: str, tokens: Tensor) -> Tensor:
        weight = self.tensors[f"{name}.weight"]
        return functional.layer_norm(tokens, weight.shape, weight, self.tensors[f"{name}.bias"], 1e-5)

    def convolution(self, name: str, image: Tensor, **options: int) -> Tensor:
        return functional.conv2d(image, self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"), **options)

    def block(self, name: str, tokens: Tensor, height: int, width: int) -> Tensor:
        normed = self.norm(f"{name}.norm1", tokens).transpose(1, 2).reshape(len(tokens), -1, height, width)
        keys, queries, values = (
            self.convolution(f"{name}.attn.{part}", normed).flatten(2) for part in ("keys", "queries", "values")
        )
        attended = self.efficient(keys, queries, values).reshape(normed.shape)
        attended = self.convolution(f"{name}.attn.reprojection", attended)
        tokens = tokens + attended.flatten(2).transpose(1, 2)
        tokens = tokens + self.feed_forward(f"{name}.mlp1", self.norm(f"{name}.norm2", tokens), height, width)
        tokens = tokens + self.channel_attention(f"{name}.channel_attn", self.norm(f"{name}.norm3", tokens))
        return tokens + self.feed_forward(f"{name}.mlp2", self.norm(f"{name}.norm4", tokens), height, width)

    @staticmethod
    def efficient(keys: Tensor, queries: Tensor, values: Tensor) -> Tensor:
        context = keys.softmax(dim=2) @ values.transpose(1, 2)
        return context.transpose(1, 2) @ queries.softmax(dim=1)

    def channel_attention(self, name: str, tokens: Tensor) -> Tensor:
        batch, count, channels = tokens.shape
        qkv = self.linear(f"{name}.qkv", tokens).reshape(batch, count, 3, 8, channels // 8).permute(2, 0, 3, 4, 1)
        query, key, value = qkv
        query, key = functional.normalize(query, dim=-1), functional.normalize(key, dim=-1)
        weights = (query @ key.transpose(2, 3) * self.tensors[f"{name}.temperature"]).softmax(dim=-1)
        return self.linear(f"{name}.proj", (weights @ value).permute(0, 3, 1, 2).reshape(batch, count, channels))

    def feed_forward(self, name: str, tokens: Tensor, height: int, width: int) -> Tensor:
        image = self.linear(f"{name}.fc1", tokens).transpose(1, 2).reshape(len(tokens), -1, height, width)
        weight = self.tensors[f"{name}.dwconv.dwconv.weight"]
        groups = image.shape[1] if weight.shape[1] == 1 else 1
        mixed = self.convolution(f"{name}.dwconv.dwconv", image, padding=1, groups=groups).flatten(2).transpose(1, 2)
        normed = self.norm(f"{name}.norm1", mixed + self.linear(f"{name}.fc1", tokens))
        return self.linear(f"{name}.fc2", functional.gelu(normed))

    def cross_attention(self, name: str, upsampled: Tensor, skip: Tensor, height: int, width: int) -> Tensor:
        values, source = (self.norm(f"{name}.norm1", part).transpose(1, 2) for part in (upsampled, skip))
        attended = self.efficient(source, source, values).reshape(len(skip), -1, height, width)
        attended = self.convolution(f"{name}.attn.reprojection", attended).flatten(2).transpose(1, 2)
        joined = torch.cat([upsampled, skip], dim=2) + self.norm(f"{name}.attn.norm", attended)
        return joined + self.feed_forward(f"{name}.mlp", self.norm(f"{name}.norm2", joined), height, width)

    def expand(self, name: str, tokens: Tensor, height: int, width: int, *, scale: int) -> Tensor:
        expanded = self.linear(f"{name}.expand", tokens)
        expanded = expanded.reshape(len(tokens), height, width, scale, scale, -1).permute(0, 1, 3, 2, 4, 5)
        return self.norm(f"{name}.norm", expanded.reshape(len(tokens), scale * scale * height * width, -1))
