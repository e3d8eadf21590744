"""Do two engines compute the same? Asked on every export, and wherever a network changes its form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedded_vit.engines.engine import Engine
from embedded_vit.errors import ContractError

__all__ = ["MAXIMUM_LABEL_DISAGREEMENT", "MAXIMUM_LOGIT_DIFFERENCE", "Agreement", "compare"]

MAXIMUM_LOGIT_DIFFERENCE = 1e-3
MAXIMUM_LABEL_DISAGREEMENT = 1e-4  # of all pixels


@dataclass(frozen=True)
class Agreement:
    """How far two engines agree.

    Attributes:
        max_logit_difference: The largest absolute difference of any logit; NaN where either engine gave a NaN.
        label_disagreement: The fraction of pixels whose largest logit is another class, in [0, 1].
        images: How many images were compared.
    """

    max_logit_difference: float
    label_disagreement: float
    images: int

    def check(self, what: str) -> None:
        """Refuse engines that do not agree.

        Raises:
            ContractError: A logit differs by more than 1e-3, or the label of more than 0.01 % of pixels.
        """
        if not self.max_logit_difference <= MAXIMUM_LOGIT_DIFFERENCE:  # NaN is refused too
            raise ContractError(
                f"{what}: logits differ by {self.max_logit_difference:.2g}, "
                f"at most {MAXIMUM_LOGIT_DIFFERENCE:g} is allowed; nothing was written"
            )
        if self.label_disagreement > MAXIMUM_LABEL_DISAGREEMENT:
            raise ContractError(
                f"{what}: the label of {self.label_disagreement:.3%} of pixels differs, at most "
                f"{MAXIMUM_LABEL_DISAGREEMENT:.2%} is allowed; nothing was written"
            )


def compare(engine_a: Engine, engine_b: Engine, inputs: Iterable[NDArray[np.float32]]) -> Agreement:
    """Run two engines on the same inputs.

    Args:
        engine_a, engine_b: Two forms of one network.
        inputs: Arrays (B, C, S, S) float32, at least one.
    """
    differences, differing, pixels, images = [], 0, 0, 0
    for image_bchw in inputs:
        logits_a, logits_b = engine_a.run(image_bchw), engine_b.run(image_bchw)
        differences.append(np.abs(logits_a - logits_b).max())
        labels_differ = logits_a.argmax(axis=1) != logits_b.argmax(axis=1)  # (B, S, S)
        differing += int(labels_differ.sum())
        pixels += labels_differ.size
        images += len(image_bchw)
    return Agreement(float(np.max(differences)), differing / pixels, images)
