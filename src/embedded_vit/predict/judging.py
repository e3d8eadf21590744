"""What is said of a finished mask: which structures the scan cuts off, and what is not plausible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedded_vit.contract import Contract
from embedded_vit.errors import ContractError
from embedded_vit.mask_figures import FigureCollector
from embedded_vit.plausibility import Judgement
from embedded_vit.volume import Mask

__all__ = ["JudgedMask", "judge_mask"]


@dataclass(frozen=True, eq=False)
class JudgedMask:
    """What is said of a mask.

    Attributes:
        cut_off: The structures that touch the border of the scan.
        judgement: How it compares with the training masks; None where the contract does not say what those look like.
    """

    cut_off: tuple[str, ...]
    judgement: Judgement | None

    @property
    def problems(self) -> list[str]:
        """That nothing is plausible, in one sentence; empty where something is."""
        if self.judgement is None or not self.judgement.nothing_plausible:
            return []
        reasons = "; ".join(f"{name}: {found[0]}" for name, found in self.judgement.implausible.items())
        return [f"nothing in the mask is plausible, so the scan seems to show something else ({reasons})"]

    @property
    def warnings(self) -> list[str]:
        """One sentence each."""
        cut_off = [f"at the border of the scan, perhaps cut off: {', '.join(self.cut_off)}"] if self.cut_off else []
        return cut_off + ([] if self.judgement is None else self.judgement.warnings)


def judge_mask(
    mask: Mask,
    counts: NDArray[np.int64],
    collector: FigureCollector | None,
    contract: Contract,
    source: str,
    *,
    force: bool,
) -> JudgedMask:
    """Judge a finished mask.

    Args:
        mask: On the scan's grid.
        counts: How many voxels have each label, (256,).
        collector: Has seen all of it; None where the contract has no plausibility.
        contract: Of the network.
        source: The scan, for messages.
        force: Whether a mask of which nothing is plausible is kept.

    Raises:
        ContractError: Nothing of it is plausible, and `force` is not given.
    """
    at_border, judgement = mask.at_border(), None
    if contract.plausibility is not None and collector is not None:
        figures = collector.figures(mask.reoriented(contract.preprocessing.orientation), counts, at_border)
        judgement = contract.plausibility.check(figures, contract.labels)
    cut_off = tuple(label.name for label in contract.labels.labels if at_border[label.id])
    judged = JudgedMask(cut_off, judgement)
    if judged.problems and not force:
        raise ContractError(f"{source}: refused: {judged.problems[0]} (--force keeps the mask nevertheless)")
    return judged
