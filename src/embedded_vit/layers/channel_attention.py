"""Channel attention: channels attend to each other through their covariance."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from embedded_vit.layers.channel_axes import ChannelAxis, read, written
from embedded_vit.layers.inner_products import gram_matrix

__all__ = ["ChannelAttention"]

# N / C above which the Gram matrix is cheaper. With eight heads it takes 2 N C² + (3 + 2 / 8) C³ MACs, and the
# plain form (4 + 2 / 8) N C²; they are equal at N = 1.44 C.
GRAM_PAYS_ABOVE = 1.45


class ChannelAttention(nn.Module):
    """Cross-covariance attention over channels.

    Queries and keys are only needed for their inner products over the tokens, and these follow from the Gram matrix
    G = xᵀx: q kᵀ = Wq G Wkᵀ. The whole layer is then one C x C matrix per image, applied to the tokens: 2 N C²
    multiplications in place of 4 N C² and more. The layer uses this form where it is cheaper, by `GRAM_PAYS_ABOVE`.

    Args:
        channels: C, a multiple of `heads`.
        heads: Groups of channels that attend among themselves.

    Source: El-Nouby et al., "XCiT", 2106.09681, equation 2.
    """

    def __init__(self, channels: int, heads: int = 8) -> None:
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.projection = nn.Linear(channels, channels)

    @property
    def heads(self) -> int:
        """The number of heads that are left; each has a temperature."""
        return self.temperature.shape[0]

    def forward(self, tokens: Tensor) -> Tensor:
        """Apply the attention: (B, N, C) -> (B, N, C)."""
        if _gram_pays(tokens.shape[1], tokens.shape[2]):
            return self._by_covariance(tokens)
        return self._by_tokens(tokens)

    def macs(self, tokens: int, *, published: bool = False) -> int:
        """Count the multiply-accumulates of N tokens, in the form that runs or in the published one."""
        channels, inner = self.projection.weight.shape
        head = inner // self.heads
        if _gram_pays(tokens, channels) and not published:
            return 2 * tokens * channels**2 + 3 * inner * channels**2 + 2 * inner * head * channels
        return 4 * tokens * channels * inner + 2 * tokens * inner * head

    def input_axes(self) -> list[ChannelAxis]:
        """See `channel_axes`."""
        return read("qkv")

    def output_axes(self) -> list[ChannelAxis]:
        """See `channel_axes`."""
        return written("projection")

    def inner_axes(self) -> dict[str, list[ChannelAxis]]:
        """Declare whole heads, because the softmax runs over the channels of a head; see `channel_axes`."""
        each = self.projection.weight.shape[1] // self.heads
        return {
            "": [
                ChannelAxis("qkv.weight", 0, repeat=3, each=each),
                ChannelAxis("temperature", 0),
                ChannelAxis("projection.weight", 1, each=each, role="read"),
            ]
        }

    def _by_covariance(self, tokens: Tensor) -> Tensor:
        scaled = tokens * tokens.shape[1] ** -0.5  # cancels in the normalisation; without it half precision overflows
        gram = gram_matrix(scaled).float()  # (B, C, C)
        with torch.autocast(tokens.device.type, enabled=False):
            query, key, value = self.qkv.weight.float().unflatten(0, (3, -1))  # each (C, C)
            query_gram = query @ gram  # (B, C, C)
            query_length = _length((query_gram * query).sum(dim=2, keepdim=True))  # (B, C, 1)
            key_length = _length((key @ gram * key).sum(dim=2, keepdim=True))  # (B, C, 1)
            heads = (self.heads, -1)
            products = query_gram.unflatten(1, heads) @ key.unflatten(0, heads).mT  # (B, heads, C/heads, C/heads)
            lengths = query_length.unflatten(1, heads) * key_length.unflatten(1, heads).mT
            weights = (products / lengths * self.temperature).softmax(dim=3)
            mixed = (weights @ value.unflatten(0, heads)).flatten(1, 2)  # (B, C, C): heads concatenated
            matrix = self.projection.weight.float() @ mixed  # (B, C, C)
        return tokens @ matrix.mT.to(tokens.dtype) + self.projection.bias.to(tokens.dtype)

    def _by_tokens(self, tokens: Tensor) -> Tensor:
        channels_first = self.qkv(tokens).mT  # (B, 3 C, N)
        query, key, value = (part.unflatten(1, (self.heads, -1)) for part in channels_first.chunk(3, dim=1))
        query = nn.functional.normalize(query, dim=3, eps=1e-12)  # (B, heads, C/heads, N)
        key = nn.functional.normalize(key, dim=3, eps=1e-12)
        weights = (query @ key.mT * self.temperature).softmax(dim=3)  # (B, heads, C/heads, C/heads)
        attended = (weights @ value).flatten(1, 2)  # (B, C, N)
        return self.projection(attended.mT)


def _gram_pays(tokens: int, channels: int) -> bool:
    return tokens > GRAM_PAYS_ABOVE * channels


def _length(square: Tensor) -> Tensor:
    """Return the root of a squared length, clamped before: else a constant image has a gradient of 0 / 0."""
    return square.clamp(min=1e-24).sqrt()
