"""What the paper reports, to be drawn beside our own points.

Source: Ostrowski and Shafique, "Embedded-ViT", ISVC 2024, on its 12 test patients of the full Synapse set. Sizes are
not the paper's: they are four bytes for each parameter of the authors' published checkpoints, dead weights included.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PAPER_NETWORKS", "PAPER_PRUNING", "PaperNetwork", "PaperPruning"]


@dataclass(frozen=True)
class PaperNetwork:
    """One network of the paper.

    Attributes:
        name: Ours for it.
        dice: In [0, 1].
        macs: Multiply-accumulates, as the paper counts them.
        checkpoint_bytes: Four for each parameter of the authors' checkpoint.
    """

    name: str
    dice: float
    macs: float
    checkpoint_bytes: int


@dataclass(frozen=True)
class PaperPruning:
    """One degree of magnitude pruning in the paper: the part of the weights that is zero, and the Dice it cost."""

    sparsity: float
    dice_lost: float


PAPER_NETWORKS = (
    PaperNetwork("224", 0.797, 26e9, 4 * 29_262_681),
    PaperNetwork("128", 0.755, 1.67e9, 4 * 5_084_833),
    PaperNetwork("64", 0.655, 0.11e9, 4 * 1_314_161),
)
PAPER_PRUNING = (PaperPruning(0.5, 0.01), PaperPruning(0.7, 0.09), PaperPruning(0.9, 0.53))
