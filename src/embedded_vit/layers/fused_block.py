"""What an engine computes in one go: the blocks whose latencies add up to that of a network.

frame        widths (C,)     stem, ReLU, head: what the widths of all other blocks do not change
pair         widths (C, I)   `ResidualPair` with I channels between its convolutions
level        widths (C, D)   down to D channels at half the side, back up to C, and the sum with the skip
attention    widths (C, A)   the first half of a `TokenBlock`, whose heads have A channels together
perceptron   widths (C, H)   its second half, with H hidden channels
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["BlockKind", "FusedBlock"]

BlockKind = Literal["frame", "pair", "level", "attention", "perceptron"]


@dataclass(frozen=True)
class FusedBlock:
    """A block, by all that its latency depends on.

    Attributes:
        kind: See the module.
        widths: Its numbers of channels, which pruning changes.
        side: Height and width of its input in pixels; of a frame, of the image.
        units: For each width, channels that are removed together: those of a head, else 1.
        fixed: What pruning does not change: of a frame, channels of the image, stride and side of the stem's kernel,
            and classes.
    """

    kind: BlockKind
    widths: tuple[int, ...]
    side: int
    units: tuple[int, ...]
    fixed: tuple[int, ...] = ()

    def __str__(self) -> str:
        fixed = "".join(f" {number}" for number in (*self.fixed, *(unit for unit in self.units if unit > 1)))
        return f"{self.kind}{fixed} {'x'.join(map(str, self.widths))} at {self.side}"
