"""Gradual magnitude pruning: the schedule, masks that hold, and going on after a kill."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from embedded_vit.compression.step import StepContext, StepResult
from embedded_vit.compression.steps.prune_weights import (
    MagnitudePruning,
    PruneWeights,
    magnitude_masks,
    prunable_weights,
)
from embedded_vit.errors import ConfigError, TrainingError
from embedded_vit.training.checkpoint import load_checkpoint, load_state
from embedded_vit.training.hooks import TrainingHook
from embedded_vit.training.loop import Trainer

NOTHING = frozenset()
SHORT = PruneWeights(sparsity=0.9, stabilise_epochs=0.5, prune_epochs=1.5, finetune_epochs=1)


@pytest.fixture
def context(synapse_folder, trained_run, tmp_path) -> StepContext:
    return StepContext(synapse_folder, load_checkpoint(trained_run), tmp_path / "work", threads=1)


def begun(settings: PruneWeights, *, steps: int, network: nn.Module | None = None) -> MagnitudePruning:
    network = network or nn.Linear(100, 10)
    hook = MagnitudePruning(settings, list(prunable_weights(network)))
    hook.begin(network, network, steps=steps, first_step=0)
    return hook


def test_sparsity_rises_as_a_cubic_from_the_initial_to_the_final():
    hook = begun(PruneWeights(sparsity=0.5, stabilise_epochs=1, prune_epochs=8, finetune_epochs=1), steps=100)
    assert hook.sparsity_after(9) is None
    assert hook.sparsity_after(10) == pytest.approx(0.05)
    assert hook.sparsity_after(12) is None  # an update every half epoch, that is, every 5 steps
    assert hook.sparsity_after(50) == pytest.approx(0.5 + (0.05 - 0.5) * 0.5**3)
    assert hook.sparsity_after(90) == 0.5
    assert hook.sparsity_after(95) is None


def test_the_learning_rate_falls_as_a_cosine_in_both_later_phases():
    settings = PruneWeights(
        sparsity=0.5,
        stabilise_epochs=1,
        prune_epochs=4,
        finetune_epochs=5,
        learning_rate=1e-4,
        final_learning_rate=5e-5,
    )
    hook = begun(settings, steps=100)
    rates = [hook.learning_rate(1.0, step) for step in range(100)]
    assert rates[0] == rates[9] == rates[10] == rates[50] == pytest.approx(1e-4)
    assert rates[30] == rates[75] == pytest.approx(7.5e-5)
    assert rates[49] == pytest.approx(5e-5 + 2.5e-5 * (1 + math.cos(math.pi * 39 / 40)))


def test_one_threshold_holds_for_all_layers():
    weights = {"large": torch.tensor([[3.0, -4.0], [5.0, 6.0]]), "small": torch.tensor([0.1, -0.2, 0.3, 9.0])}
    masks = magnitude_masks(weights, 0.5)
    assert masks["large"].tolist() == [[False, True], [True, True]]
    assert masks["small"].tolist() == [False, False, False, True]


@pytest.fixture(scope="module")
def pruned(synapse_folder, trained_run, tmp_path_factory) -> tuple[Path, StepResult]:
    """The result of the whole step, and its folder."""
    folder = tmp_path_factory.mktemp("pruned")
    context = StepContext(synapse_folder, load_checkpoint(trained_run), folder / "work", threads=1)
    return folder / "step", SHORT.apply(context.original, context, folder / "step", NOTHING)


def test_masks_hold_in_the_network_its_average_and_the_file(pruned, context):
    folder, result = pruned
    names = SHORT.units(context.original)
    tensors, _ = load_state(folder)
    kept = result.checkpoint.network.state_dict()
    for name in names:
        zero = tensors[f"network.{name}"] == 0
        assert not tensors[f"average.{name}"][zero].any()
        assert torch.equal(kept[name] == 0, zero)
    zeros = sum(int((kept[name] == 0).sum()) for name in names)
    assert zeros == result.facts["zero_weights"] == round(0.9 * result.facts["prunable_weights"])
    assert not any((tensor == 0).all() for name, tensor in kept.items() if name.endswith("norm.weight"))


def test_an_epoch_before_the_final_sparsity_is_never_kept(pruned):
    record = pruned[1].checkpoint.record
    assert max(record.epochs, key=lambda row: row.validation_dice).epoch == 1  # with fewer zeros
    assert record.selected_epoch == max(record.epochs[1:], key=lambda row: row.validation_dice).epoch


def test_a_step_killed_in_each_phase_goes_on_to_the_same_weights(pruned, context, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    train_epoch, killed_before = Trainer._train_epoch, []

    def die_before_each_epoch_but_the_first(self, epoch):
        if epoch > 1 and epoch not in killed_before:
            killed_before.append(epoch)
            raise Killed
        return train_epoch(self, epoch)

    monkeypatch.setattr(Trainer, "_train_epoch", die_before_each_epoch_but_the_first)
    for _ in range(2):
        with pytest.raises(Killed):
            SHORT.apply(context.original, context, tmp_path / "step", NOTHING)
    SHORT.apply(context.original, context, tmp_path / "step", NOTHING)
    assert killed_before == [2, 3]
    for name in ("model.safetensors", "state.safetensors"):
        one, other = load_file(pruned[0] / name), load_file(tmp_path / "step" / name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[tensor], other[tensor]) for tensor in one)


def test_weights_that_do_not_stay_zero_are_noticed(context, tmp_path):
    class Revives(TrainingHook):
        def begin(self, network, average, *, steps, first_step):
            self.weight = network.get_parameter("head.weight").detach()

        def after_step(self, step):
            self.weight += 1.0

    step = PruneWeights(sparsity=0.5, stabilise_epochs=0, prune_epochs=0, finetune_epochs=1)
    hooks = [MagnitudePruning(step, ["head.weight"]), Revives()]
    with pytest.raises(TrainingError, match=r"head\.weight has weights that were pruned"):
        context.train(context.original, tmp_path / "step", epochs=1, learning_rate=1e-3, hooks=hooks)


def test_protected_weights_are_left_out_and_the_others_reach_the_sparsity(context, tmp_path):
    step = PruneWeights(
        sparsity=0.6, stabilise_epochs=0, prune_epochs=0, finetune_epochs=1, weights=("decoder.*", "head.*")
    )
    units = step.units(context.original)
    protected = frozenset({"head.weight", "decoder.0.first.convolution.weight"})
    network = step.apply(context.original, context, tmp_path / "step", protected).checkpoint.network
    assert all(network.get_parameter(name).all() for name in protected)
    assert network.encoder[0].first.convolution.weight.all()
    pruned = [network.get_parameter(name) for name in units if name not in protected]
    zeros, all_of_them = sum(int((weight == 0).sum()) for weight in pruned), sum(weight.numel() for weight in pruned)
    assert zeros == round(0.6 * all_of_them)
    with pytest.raises(ConfigError, match="every weight is protected"):
        step.apply(context.original, context, tmp_path / "none", frozenset(units))


def test_one_unit_alone_is_damaged(context):
    before = context.original
    image = context.probe_images(1)[0]
    step = PruneWeights(sparsity=0.9)
    whole = before.network(torch.from_numpy(image))
    damaged = step.damaged(before, "head.weight", context).run(image)
    assert abs(damaged - whole.detach().numpy()).max() > 1e-3
    assert before.network.head.weight.all()


def test_a_pattern_that_fits_nothing_is_refused(context):
    with pytest.raises(ConfigError, match="no linear or convolution weight is called 'encodr"):
        PruneWeights(sparsity=0.5, weights=("encodr.*",)).units(context.original)


def test_phases_need_not_be_whole_epochs():
    settings = PruneWeights(sparsity=0.5, stabilise_epochs=0.5, prune_epochs=1.25, finetune_epochs=0.5)
    assert settings.epochs == 3
    hook = begun(settings, steps=30)
    assert (hook.first, hook.last) == (5, 17)
    assert hook.sparsity_after(17) == 0.5
