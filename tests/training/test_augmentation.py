"""Augmentation: images and labels move together, and nothing moves that must not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embedded_vit.labels import LabelSet
from embedded_vit.models.registry import NetworkConfig
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.augmentation import augment, distort
from embedded_vit.training.distortion import Distortion, Mirroring, Patch, draw
from embedded_vit.training.settings import RunConfig, TrainingConfig

SIZE = 32


def batch(count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth picture whose labels are its brightness in steps."""
    axis = torch.linspace(-1, 1, SIZE)
    picture = (axis[:, None] + 0.3 * axis[None, :]).clamp(-1, 1)
    images = picture.expand(count, 1, SIZE, SIZE).clone()
    return images, ((images[:, 0] + 1) * 2).round().long()


def drawn(recipe: str, seed: int, *, mirror: bool = False, cutmix: float = 0.0) -> Distortion:
    training = TrainingConfig.for_recipe(recipe, cutmix=cutmix)
    return draw(training, np.random.default_rng(seed), mirror=Mirroring() if mirror else None, others=[5, 7])


def test_no_distortion_changes_nothing():
    images, labels = batch()
    changed, same_labels = distort(images.clone(), labels.clone(), [Distortion()] * 4)
    torch.testing.assert_close(changed, images, rtol=0, atol=1e-5)
    assert torch.equal(same_labels, labels)


@pytest.mark.parametrize("recipe", ["paper", "modern"])
def test_shape_range_and_label_values_are_kept(recipe):
    images, labels = batch(16)
    distortions = [drawn(recipe, seed, mirror=True) for seed in range(16)]
    changed, changed_labels = distort(images, labels, distortions)
    assert changed.shape == images.shape
    assert changed_labels.dtype == torch.int64
    assert changed.isfinite().all()
    assert changed.min() >= -1
    assert changed.max() <= 1
    assert set(changed_labels.unique().tolist()) <= set(labels.unique().tolist())


def test_labels_move_with_the_image():
    images, labels = batch(8)
    whole = [drawn("modern", seed, mirror=True) for seed in range(8)]
    geometry = [Distortion(matrix=one.matrix, displacement=one.displacement) for one in whole]
    changed, changed_labels = distort(images, labels, geometry)
    inside = changed[:, 0] > -0.9
    expected = ((changed[:, 0] + 1) * 2).round().long()
    assert (expected == changed_labels)[inside].float().mean() > 0.9


def modern_matrix(seed: int, *, mirror: bool) -> np.ndarray:
    return drawn("modern", seed, mirror=mirror).matrix


def is_mirrored(matrix: np.ndarray) -> bool:
    return np.linalg.det(matrix[:, :2]) < 0


def test_modern_mirrors_only_where_the_label_set_allows_it():
    assert not any(is_mirrored(modern_matrix(seed, mirror=False)) for seed in range(200))
    assert 70 < sum(is_mirrored(modern_matrix(seed, mirror=True)) for seed in range(200)) < 130


def test_modern_mirrors_left_to_right_which_is_along_rows():
    matrix = next(matrix for seed in range(50) if is_mirrored(matrix := modern_matrix(seed, mirror=True)))
    assert matrix[0, 0] > 0 > matrix[1, 1]  # columns (front to back) keep their direction


def test_paper_draws_none_to_four_of_its_ten():
    draws = [drawn("paper", seed) for seed in range(2000)]
    untouched = sum(
        np.array_equal(d.matrix, np.eye(2, 3)) and not d.displacement.any() and d.gain == 1 and not d.blur_pixels
        and not d.noise and not d.noise_before_blur
        for d in draws
    )  # fmt: skip
    assert 0.2 < untouched / 2000 < 0.32  # a fifth draws none; some draw only a flip that then does not happen
    noisy = sum(bool(d.noise or d.noise_before_blur) for d in draws) / 2000
    assert noisy == pytest.approx(0.2, abs=0.03)  # two of ten on average
    assert {round(d.noise or d.noise_before_blur, 6) for d in draws} == {0.0, 0.005}


def test_intensity_curves_keep_the_order_of_intensities():
    images, labels = batch(50)
    curves = [Distortion(curve=drawn("modern", seed).curve) for seed in range(50)]
    changed, _ = distort(images.clone(), labels, curves)
    order = images[0].flatten().argsort()
    for picture in changed:
        assert (picture.flatten()[order].diff() >= -1e-5).all()


def test_noise_depends_on_the_slices_own_seed_only():
    images, labels = batch(3)
    one, two = Distortion(noise=0.1, noise_seed=1), Distortion(noise=0.1, noise_seed=2)
    together, _ = distort(images.clone(), labels, [one, two, one])
    alone, _ = distort(images[:1].clone(), labels[:1], [one])
    assert torch.equal(together[0], together[2])
    assert torch.equal(together[0], alone[0])
    assert not torch.equal(together[0], together[1])


def test_blur_keeps_the_mean_and_lowers_contrast():
    images, labels = torch.rand(2, 1, SIZE, SIZE) * 2 - 1, torch.zeros(2, SIZE, SIZE, dtype=torch.long)
    blurred, _ = distort(images.clone(), labels, [Distortion(blur_pixels=1.0)] * 2)
    assert blurred.mean() == pytest.approx(images.mean().item(), abs=0.02)
    assert blurred.std() < 0.5 * images.std()


def test_context_slices_share_one_geometry():
    images, labels = batch(2)
    noiseless = [Distortion(matrix=modern_matrix(seed, mirror=False)) for seed in (1, 2)]
    changed, _ = distort(images.repeat(1, 3, 1, 1), labels, noiseless)
    assert torch.equal(changed[:, 0], changed[:, 1])


def test_patches_are_drawn_as_often_as_wanted():
    patches = [drawn("modern", seed, cutmix=0.3).patch for seed in range(1000)]
    assert sum(patch is not None for patch in patches) / 1000 == pytest.approx(0.3, abs=0.04)
    assert not any(drawn("modern", seed).patch for seed in range(50))
    for patch in filter(None, patches):
        assert patch.index in (5, 7)
        assert patch.distortion.patch is None
        assert 0 <= patch.rows[0] < patch.rows[1] <= 1
        assert 0 <= patch.columns[0] < patch.columns[1] <= 1
        area = (patch.rows[1] - patch.rows[0]) * (patch.columns[1] - patch.columns[0])
        assert 0.09 < area < 0.51


@pytest.mark.parametrize("size", [32, 64])
def test_a_patch_brings_image_and_labels_of_the_other_slice_and_nothing_else(size):
    def read(indices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        values = torch.from_numpy(indices)
        images = (values.float() / 10)[:, None, None, None].expand(-1, 3, size, size)
        return images.clone(), values[:, None, None].expand(-1, size, size).clone()

    patch = Patch(7, Distortion(offset=0.1), rows=(0.25, 0.5), columns=(0.5, 1.0))
    images, labels = augment(read, np.array([2, 3]), [Distortion(patch=patch), Distortion()])
    inside = torch.zeros(size, size, dtype=torch.bool)
    inside[size // 4 : size // 2, size // 2 :] = True
    assert (labels[0] == torch.where(inside, 7, 2)).all()
    torch.testing.assert_close(images[0], torch.where(inside, 0.9, 0.2).expand(3, size, size))
    assert (labels[1] == 3).all()


def test_labels_of_the_two_sides_change_places_in_a_mirrored_slice():
    mirroring = Mirroring(numbers=(0, 2, 1, 3))
    training = TrainingConfig.for_recipe("modern", cutmix=0.0)
    for seed in range(20):
        distortion = draw(training, np.random.default_rng(seed), mirror=mirroring, others=[])
        assert is_mirrored(distortion.matrix) == (distortion.numbers is not None)
        only = Distortion(numbers=distortion.numbers)
        images, labels = batch(1)
        _, changed = distort(images, labels % 4, [only])
        expected = torch.tensor([0, 2, 1, 3])[labels % 4] if is_mirrored(distortion.matrix) else labels % 4
        assert torch.equal(changed, expected)


def test_sagittal_slices_are_mirrored_by_their_neighbours():
    mirroring = Mirroring(along_rows=False)
    training = TrainingConfig.for_recipe("modern", cutmix=0.0)
    drawn_ = [draw(training, np.random.default_rng(seed), mirror=mirroring, others=[]) for seed in range(50)]
    assert not any(is_mirrored(distortion.matrix) for distortion in drawn_)
    assert 10 < sum(distortion.reversed_context for distortion in drawn_) < 40
    images = torch.linspace(-1, 1, 6)[None, :, None, None].expand(1, 6, SIZE, SIZE).clone()  # 3 slices of 2 channels
    turned, _ = distort(
        images.clone(),
        torch.zeros(1, SIZE, SIZE, dtype=torch.long),
        [Distortion(reversed_context=True)],
        context_slices=3,
    )
    torch.testing.assert_close(turned[0], images[0, [4, 5, 2, 3, 0, 1]], rtol=0, atol=1e-5)


def test_a_run_says_how_its_slices_are_mirrored():
    def run(orientation: str, names: list[str], *, mirror: bool) -> Mirroring | None:
        network = NetworkConfig(image_size=32, widths=(8, 16), classes=len(names) + 1)
        preprocessing = Preprocessing.for_modality("MR", image_size=32, orientation=orientation)
        labels = LabelSet.from_names(names, mirror=mirror)
        training = TrainingConfig.for_recipe("modern")
        return Mirroring.of(RunConfig(network=network, preprocessing=preprocessing, labels=labels, training=training))

    assert run("SLP", ["left eye", "right eye"], mirror=False) is None
    assert run("SLP", ["left eye", "nose", "right eye"], mirror=True) == Mirroring(numbers=(0, 3, 2, 1))
    assert run("PLI", ["nose"], mirror=True) == Mirroring()
    assert run("LPI", ["nose"], mirror=True) == Mirroring(along_rows=False)
