"""Two engines are compared pixel by pixel, and what is too far apart is refused with its figure."""

from __future__ import annotations

import numpy as np
import pytest

from embedded_vit.engines import Agreement, compare
from embedded_vit.errors import ContractError


class Shifted:
    """Logits (image, 0) with something added to the first class of a few pixels of the first row."""

    def __init__(self, amount: float = 0.0, pixels: int = 0) -> None:
        self.amount, self.pixels = amount, pixels

    def run(self, image_bchw: np.ndarray) -> np.ndarray:
        logits = np.concatenate([image_bchw, np.zeros_like(image_bchw)], axis=1)
        logits[:, 0, 0, : self.pixels] += self.amount
        return logits


def slightly_negative(count: int = 2) -> list[np.ndarray]:
    return [np.full((1, 1, 100, 100), -0.5, np.float32) for _ in range(count)]


def test_equal_engines_agree() -> None:
    agreement = compare(Shifted(), Shifted(), slightly_negative(3))
    assert agreement == Agreement(0.0, 0.0, 3)
    agreement.check("x")


def test_the_largest_difference_and_the_share_of_changed_labels_are_counted() -> None:
    agreement = compare(Shifted(), Shifted(amount=0.75, pixels=5), slightly_negative())
    assert agreement.max_logit_difference == 0.75
    assert agreement.label_disagreement == 5 / 100**2
    assert agreement.images == 2


@pytest.mark.parametrize(
    ("agreement", "message"),
    [
        (Agreement(0.0011, 0.0, 1), "logits differ by 0.0011, at most 0.001"),
        (Agreement(float("nan"), 0.0, 1), "logits differ by nan"),
        (Agreement(0.0, 0.00011, 1), r"label of 0\.011% of pixels differs, at most 0\.01%"),
    ],
)
def test_too_large_a_difference_is_refused_with_its_figure(agreement: Agreement, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        agreement.check("model.onnx")


def test_differences_at_the_limit_are_allowed() -> None:
    Agreement(1e-3, 1e-4, 1).check("model.onnx")


def test_a_nan_anywhere_is_a_difference() -> None:
    agreement = compare(Shifted(), Shifted(amount=float("nan"), pixels=1), slightly_negative())
    assert np.isnan(agreement.max_logit_difference)
