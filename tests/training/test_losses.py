"""The loss against its definition."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from embedded_vit.training import losses
from embedded_vit.training.losses import segmentation_loss, soft_dice_loss


def naive_dice_loss(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """TransUNet's DiceLoss, class by class."""
    losses = []
    for label in range(probabilities.shape[1]):
        score, target = probabilities[:, label], (labels == label).float()
        overlap, squares = (score * target).sum(), (target * target).sum() + (score * score).sum()
        losses.append(1 - (2 * overlap + 1e-5) / (squares + 1e-5))
    return torch.stack(losses).mean()


def test_loss_is_the_papers_mixture():
    logits, labels = torch.randn(2, 5, 8, 8), torch.randint(0, 5, (2, 8, 8))
    expected = 0.4 * functional.cross_entropy(logits, labels) + 0.6 * naive_dice_loss(logits.softmax(1), labels)
    torch.testing.assert_close(segmentation_loss(logits, labels), expected)


def dice_of_logits(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logarithms = logits.log_softmax(1)
    return soft_dice_loss(logarithms, logarithms.gather(1, labels[:, None]), labels)


def test_dice_loss_is_zero_for_a_perfect_answer_and_its_gradient_agrees():
    labels = torch.randint(0, 4, (2, 8, 8))
    perfect = functional.one_hot(labels, 4).movedim(-1, 1).float()
    assert dice_of_logits(100 * perfect, labels).abs() < 1e-6
    scores = torch.randn(2, 4, 8, 8, requires_grad=True)
    ours = torch.autograd.grad(dice_of_logits(scores, labels), scores)[0]
    theirs = torch.autograd.grad(naive_dice_loss(scores.softmax(1), labels), scores)[0]
    torch.testing.assert_close(ours, theirs)


def test_half_precision_logits_are_summed_in_float32():
    logits, labels = torch.randn(2, 5, 64, 64), torch.randint(0, 5, (2, 64, 64))
    torch.testing.assert_close(
        segmentation_loss(logits.bfloat16(), labels), segmentation_loss(logits.bfloat16().float(), labels)
    )


def test_sums_by_masks_are_the_indexed_ones() -> None:
    values, labels = torch.rand(2, 1, 32, 32, requires_grad=True), torch.randint(0, 9, (2, 32, 32))
    found = []
    for sums_by_class in (losses._indexed_sums, losses._masked_sums):
        sums, count = sums_by_class(values, labels, 10)
        found.append((sums, count, *torch.autograd.grad(sums.square().sum(), values)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_the_loss_is_the_same_on_a_gpu_where_masks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = torch.randn(3, 9, 8, 8), torch.randint(0, 9, (3, 8, 8))
    here = segmentation_loss(logits, labels).item()
    monkeypatch.setattr(losses, "_indexed_sums", losses._masked_sums)
    assert segmentation_loss(logits, labels).item() == pytest.approx(here, rel=1e-6)
