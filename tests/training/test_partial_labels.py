"""What is ignored, or was not marked, leaves loss and metrics bit-identical whatever stands there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from embedded_vit.datasets import open_data_set
from embedded_vit.evaluation.known_parts import scored, without_ignored
from embedded_vit.evaluation.protocol import PROTOCOLS
from embedded_vit.labels import IGNORED, LabelSet, Region
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.loop import dice_by_case
from embedded_vit.training.losses import segmentation_loss
from embedded_vit.training.partial_labels import partial_sets, possible_classes
from embedded_vit.training.slices import prepare_slices
from embedded_vit.volume import UPRIGHT_AFFINE, LabelMap

CLASSES, SIZE = 4, 12
SETS = ((0, 1, 2, 3), (0, 2))  # ignored: 255; 254: background that may be structure 2
POSSIBLE = possible_classes(SETS, CLASSES)


def logits_and_labels() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, CLASSES, SIZE, SIZE, generator=generator)
    return logits, torch.randint(0, CLASSES, (2, SIZE, SIZE), generator=generator)


def test_certain_labels_have_the_same_loss_with_and_without_the_table() -> None:
    logits, labels = logits_and_labels()
    plain, partial = segmentation_loss(logits, labels), segmentation_loss(logits, labels, POSSIBLE)
    assert float(partial) == pytest.approx(float(plain), abs=1e-6)


def test_logits_of_ignored_pixels_change_no_bit_of_the_loss_and_get_no_gradient() -> None:
    logits, labels = logits_and_labels()
    ignored = torch.rand(2, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) < 0.3
    labels[ignored] = IGNORED
    logits.requires_grad_(True)
    loss = segmentation_loss(logits, labels, POSSIBLE)
    (gradient,) = torch.autograd.grad(loss, [logits])
    assert not gradient.movedim(1, -1)[ignored].any()
    assert gradient.movedim(1, -1)[~ignored].any(dim=-1).all()
    changed = logits.detach().clone()
    changed.movedim(1, -1)[ignored] = 50 * torch.randn(int(ignored.sum()), CLASSES)
    assert segmentation_loss(changed, labels, POSSIBLE).item() == loss.item()


def test_ignoring_pixels_is_leaving_them_out() -> None:
    logits, labels = logits_and_labels()
    cut = segmentation_loss(logits[:, :, :, :7], labels[:, :, :7], POSSIBLE)
    labels[:, :, 7:] = IGNORED
    assert segmentation_loss(logits, labels, POSSIBLE).item() == pytest.approx(cut.item(), abs=1e-6)


def test_background_may_be_the_structure_that_nobody_marked() -> None:
    """The loss knows the two classes together only, and is best where one of them is certain."""
    logits = torch.zeros(1, CLASSES, SIZE, SIZE)
    labels = torch.full((1, SIZE, SIZE), 254)
    losses = []
    for number in range(CLASSES):
        sure = logits.clone()
        sure[:, number] = 20
        losses.append(float(segmentation_loss(sure, labels, POSSIBLE)))
    assert losses[0] == losses[2] < 0.01
    assert min(losses[1], losses[3]) > 5


def test_everything_ignored_is_a_loss_of_nothing() -> None:
    logits = torch.randn(1, CLASSES, SIZE, SIZE, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, SIZE, SIZE), IGNORED), POSSIBLE)
    (gradient,) = torch.autograd.grad(loss, [logits])
    assert loss.item() == 0
    assert not gradient.any()


def write_pictures(folder: Path, *, hidden: int = 0, marked: int = 0) -> Path:
    """Four pictures of two structures; what stands in the ignored corner and for the unmarked structure is given."""
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for case in ("a", "b", "c", "d"):
        image = random.integers(0, 255, (16, 16)).astype(np.uint8)
        mask = np.zeros((16, 16), np.uint8)
        mask[2:9, 3:7], mask[10:14, 4:13] = 1, 2
        if case == "b":
            mask[:6, 10:] = 9  # ignored
            image[:6, 10:] += np.uint8(hidden)  # nobody knows what is there
        if case == "c":
            mask[10:14, 4:13] = marked  # of structure 2, which nobody is said to have marked
        Image.fromarray(image).save(folder / "images" / f"{case}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{case}.png")
    description = {
        "labels": {"background": 0, "one": 1, "two": 2, "ignore": 9},
        "unlabelled": {"c": ["two"]},
        "channel_names": {"0": "grey"},
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def test_prepared_slices_do_not_depend_on_what_nobody_marked(tmp_path: Path) -> None:
    prepared = []
    for marked in (0, 2):
        data_set = open_data_set(write_pictures(tmp_path / str(marked), marked=marked))
        assert partial_sets(data_set) == ((0, 1, 2), (0, 2))
        preprocessing = Preprocessing.for_modality("picture", channels=("grey",), image_size=16)
        prepared.append(prepare_slices(data_set, ["a", "b", "c", "d"], preprocessing, tmp_path / f"cache{marked}"))
    assert prepared[0].fingerprint == prepared[1].fingerprint
    labels = np.swapaxes(prepared[0].labels, 1, 2)  # a picture's rows run along the columns of a network's slice
    assert np.unique(labels[0]).tolist() == [0, 1, 2]
    assert (labels[1, :6, 10:] == IGNORED).all()
    assert np.unique(labels[2]).tolist() == [1, 254]
    assert prepared[0].with_structure(np.arange(4)).all()
    (mask,) = next(iter(prepared[0].masks_of(["c"])))
    assert np.unique(mask).tolist() == [0, 1]


def test_validation_leaves_out_what_is_not_known() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, CLASSES, (3, SIZE, SIZE)).astype(np.uint8)
    truth[0, :5] = IGNORED
    predicted = random.integers(0, CLASSES, truth.shape).astype(np.uint8)
    scores = dice_by_case(predicted, truth, CLASSES, SETS)
    changed = predicted.copy()
    changed[0, :5] = random.integers(0, CLASSES, (5, SIZE))
    assert dice_by_case(changed, truth, CLASSES, SETS) == scores
    truth[truth == 2], truth[truth == 0] = 254, 254
    assert len(dice_by_case(predicted, truth, CLASSES, SETS)) == len(scores) - 1


def test_scores_do_not_depend_on_what_is_ignored() -> None:
    random = np.random.default_rng(1)
    labels = LabelSet.from_names(["one", "two", "three"])
    labels = labels.model_copy(update={"regions": (Region(name="all", members=(1, 2, 3)),)})
    truth = np.kron(random.integers(0, 4, (2, 3, 3)), np.ones((2, 4, 4), int)).astype(np.uint8)
    prediction = np.kron(random.integers(0, 4, (2, 3, 3)), np.ones((2, 4, 4), int)).astype(np.uint8)
    truth[:, 3:8, 2:7] = IGNORED
    found = []
    for seed in range(3):
        prediction[:, 3:8, 2:7] = np.random.default_rng(seed).integers(0, 4, (4, 5, 5))
        maps = [LabelMap(array, UPRIGHT_AFFINE) for array in (prediction, truth)]
        found.append(scored(PROTOCOLS["strict"], *without_ignored(*maps), labels, (), 1))
    assert found[0] == found[1] == found[2]
    assert found[0][1][0].dice is not None


def test_structures_that_nobody_marked_are_excluded_with_their_regions() -> None:
    labels = LabelSet.from_names(["one", "two"])
    regions = (Region(name="both", members=(1, 2)), Region(name="first", members=(1,)))
    labels = labels.model_copy(update={"regions": regions})
    array = np.zeros((1, 8, 8), np.uint8)
    array[0, 1:4, 1:4] = 1
    truth = LabelMap(array, UPRIGHT_AFFINE)
    scores, of_regions = scored(PROTOCOLS["strict"], replace(truth), truth, labels, (2,), 1)
    assert [score.excluded for score in scores] == [False, True]
    assert [score.dice for score in of_regions] == [None, 1.0]
