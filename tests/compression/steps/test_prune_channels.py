"""Channels go by what they matter and cost, the rest trains on, and a killed step ends where it would have ended."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from network_fixtures import untrained_run
from safetensors.torch import load_file

from embedded_vit.compression.step import StepContext, StepResult
from embedded_vit.compression.steps import pruning_target
from embedded_vit.compression.steps.channel_choice import ShrinkingNetwork, choose_channels, macs_cost
from embedded_vit.compression.steps.channel_importance import channel_importance
from embedded_vit.compression.steps.prune_channels import PruneChannels
from embedded_vit.datasets import open_data_set
from embedded_vit.engines import load
from embedded_vit.errors import ConfigError
from embedded_vit.export.exporting import export
from embedded_vit.models.channels import channel_groups, keep_channels
from embedded_vit.models.registry import build_network, network_config
from embedded_vit.provenance import describe_machine
from embedded_vit.training.checkpoint import Checkpoint, load_checkpoint
from embedded_vit.training.loop import Trainer
from embedded_vit.training.losses import segmentation_loss

NOTHING: frozenset[str] = frozenset()
STEP = PruneChannels(target_macs=0.5, rounds=2, epochs=3, importance_slices=4, cutmix=0.25)


@pytest.fixture(scope="module")
def run(synapse_folder, tmp_path_factory) -> Path:
    """A run with its initial weights, which is enough to prune and to train it."""
    classes = open_data_set(synapse_folder).labels.classes
    network = network_config(classes=classes, image_size=32, widths=(16, 24), convolution_widths=(8, 16))
    return untrained_run(tmp_path_factory.mktemp("whole") / "run", network, synapse_folder)


@pytest.fixture(scope="module")
def whole(run) -> Checkpoint:
    return load_checkpoint(run)


@pytest.fixture(scope="module")
def context(synapse_folder, whole, tmp_path_factory) -> StepContext:
    return StepContext(synapse_folder, whole, tmp_path_factory.mktemp("context"), threads=1)


@pytest.fixture(scope="module")
def pruned_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pruned")


@pytest.fixture(scope="module")
def result(whole, context, pruned_folder) -> StepResult:
    return STEP.apply(whole, context, pruned_folder, NOTHING)


def macs(checkpoint: Checkpoint) -> int:
    return checkpoint.network.macs(32)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_the_target_is_reached_in_equal_steps(result, whole):
    half_way, end = result.facts["macs_by_round"]
    assert end == macs(result.checkpoint)
    assert 0.4 * macs(whole) < end <= 0.5 * macs(whole)
    assert 0.6 * macs(whole) < half_way <= 0.5**0.5 * macs(whole)


def test_widths_that_are_left_are_multiples_of_eight(result):
    groups = channel_groups(result.checkpoint.network)
    kept = result.checkpoint.config.network.kept_channels
    assert kept
    assert all(groups[name].width == width for name, width in kept.items())
    assert all(width % 8 == 0 for name, width in kept.items() if groups[name].unit == 1)


def test_the_result_is_an_ordinary_run_folder(result, pruned_folder):
    again = load_checkpoint(pruned_folder / "round-2")
    assert again.config == result.checkpoint.config
    image = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(again.network(image), result.checkpoint.network(image))


def test_each_round_trains_what_it_pruned(result, pruned_folder):
    for name, epochs in (("round-1", 1), ("round-2", 2)):
        start, trained = weights(pruned_folder / name / "start"), weights(pruned_folder / name)
        assert {key: value.shape for key, value in start.items()} == {key: v.shape for key, v in trained.items()}
        assert any(not torch.equal(start[key], trained[key]) for key in start)
        record = load_checkpoint(pruned_folder / name).record
        assert len(record.epochs) == epochs
        assert record.machine == describe_machine("cpu")


def test_slices_are_mixed_as_the_step_says(result, whole):
    assert (whole.config.training.cutmix, result.checkpoint.config.training.cutmix) == (0.5, 0.25)


def test_the_network_before_is_not_changed(result, run, whole):
    on_disk = weights(run)
    assert all(torch.equal(value, on_disk[name]) for name, value in whole.network.state_dict().items())


def test_a_pruned_network_exports_to_what_it_is(result, pruned_folder, synapse_folder, tmp_path):
    report = export(pruned_folder / "round-2", tmp_path / "model.onnx", data_folder=synapse_folder)
    assert report.agreement.max_logit_difference < 1e-3
    assert report.agreement.label_disagreement <= 1e-4
    assert report.checked_on.startswith("real slices")
    image = np.random.default_rng(0).uniform(-1, 1, (1, 1, 32, 32)).astype(np.float32)
    with torch.inference_mode():
        expected = result.checkpoint.network(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(load(report.path, threads=1).run(image), expected, atol=1e-3)


def test_a_step_killed_in_its_second_round_ends_in_the_same_network(
    result, pruned_folder, whole, context, tmp_path, monkeypatch
):
    train_epoch, calls = Trainer._train_epoch, []

    def killed_in_the_third(self, *arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train_epoch(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_train_epoch", killed_in_the_third)
        with pytest.raises(KeyboardInterrupt):
            STEP.apply(whole, context, tmp_path, NOTHING)
    resumed = STEP.apply(whole, context, tmp_path, NOTHING)
    assert resumed.facts == result.facts
    first, second = weights(pruned_folder / "round-2"), weights(tmp_path / "round-2")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_protected_groups_keep_their_width(whole, context):
    importance = channel_importance(whole.network, STEP._batches(context))
    protected = frozenset({"encoder.1", "encoder.0.blocks.0.feed_forward1"})
    target = int(0.6 * macs(whole))
    cost = macs_cost(32, input_channels=1)
    shapes = ShrinkingNetwork(whole.config.network, cost)
    kept = choose_channels(shapes, importance, target, cost, protected=protected)
    assert kept
    assert not protected & kept.keys()


def test_the_widths_of_another_run_are_reached_with_channels_of_ones_own(
    result, pruned_folder, whole, context, tmp_path
):
    torch.manual_seed(1)
    other = Checkpoint(build_network(whole.config.network), whole.config, whole.record)
    step = PruneChannels(widths_of=pruned_folder / "round-2", epochs=3, importance_slices=4, multiple=16)
    pruned = step.at_once(other, context, tmp_path)
    assert pruned.config.network.kept_channels == result.checkpoint.config.network.kept_channels
    assert macs(pruned) == macs(result.checkpoint)
    ours, theirs = pruned.network.state_dict(), result.checkpoint.network.state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: v.shape for name, v in theirs.items()}
    kept = pruned.network.encoder[0].blocks[0].feed_forward1.fc1.bias
    assert np.isin(kept.detach(), other.network.encoder[0].blocks[0].feed_forward1.fc1.bias.detach()).all()
    assert step.units(other) == ()


def test_widths_of_another_network_are_refused(result, pruned_folder, whole, context, tmp_path):
    config = whole.config.network.model_copy(update={"hidden_ratio": 2})
    other = Checkpoint(build_network(config), whole.config.model_copy(update={"network": config}), whole.record)
    step = PruneChannels(widths_of=pruned_folder / "round-2", epochs=3)
    with pytest.raises(ConfigError, match="not pruned from a network like this one"):
        step.apply(other, context, tmp_path, NOTHING)


def test_a_target_below_the_smallest_network_is_refused(whole, context):
    importance = channel_importance(whole.network, STEP._batches(context))
    cost = macs_cost(32, input_channels=1)
    with pytest.raises(ConfigError, match=r"1,000 MACs cannot be reached: [\d,]+ MACs are left"):
        choose_channels(ShrinkingNetwork(whole.config.network, cost), importance, 1000, cost)


@pytest.mark.parametrize("name", ["encoder.1", "decoder.0", "encoder.1.blocks.0.feed_forward1", "down.1", "up.0"])
def test_what_matters_least_goes_first(name):
    config = network_config(classes=3, image_size=32, widths=(16, 24), convolution_widths=(8, 24))
    groups = channel_groups(build_network(config))
    importance = {key: np.full(group.width, 1.0) for key, group in groups.items()}
    alive = np.arange(groups[name].width // 8 * 8 - 8) + 2  # all but the last bundle
    importance[name][:] = 0
    importance[name][alive] = 1
    cost = macs_cost(32, input_channels=1)
    kept = choose_channels(ShrinkingNetwork(config, cost), importance, build_network(config).macs(32) - 1, cost)
    assert kept == {name: alive.tolist()}


@pytest.mark.parametrize("around", [(), (8, 10)], ids=["tokens", "convolutions"])
def test_importance_is_what_the_loss_changes_by_with_a_little_less_of_a_channel(around):
    torch.manual_seed(0)
    network = build_network(network_config(classes=3, image_size=32, widths=(16, 24), convolution_widths=around))
    images, labels = torch.randn(2, 3, 32, 32), torch.randint(3, (2, 32, 32))
    importance = channel_importance(network, [(images, labels)])
    step = 0.02
    for name, group in channel_groups(network).items():
        changes = []
        for sign in (1, -1):
            changed = copy.deepcopy(network)
            for axis in group.axes:
                if axis.role == "written":
                    continue
                values = changed.get_parameter(axis.parameter).data
                places = axis.places(values.shape[axis.dimension], torch.tensor([1]))
                part = values.index_select(axis.dimension, places)
                if axis.role == "read":
                    values.index_copy_(axis.dimension, places, part * (1 + sign * step))
                else:  # a gate: exp(query) times 1 + step
                    values.index_copy_(axis.dimension, places, part + np.log1p(sign * step))
            with torch.inference_mode():
                changes.append(segmentation_loss(changed(images), labels).item())
        slope = (changes[0] - changes[1]) / (2 * step)
        assert importance[name][1] == pytest.approx(slope**2, rel=0.05, abs=1e-8), name


def test_channels_that_nothing_reads_have_no_importance():
    network = build_network(network_config(classes=3, image_size=32, widths=(16, 24)))
    with torch.no_grad():
        network.encoder[0].blocks[0].feed_forward1.fc2.weight[:, 3] = 0
    importance = channel_importance(network, [(torch.randn(2, 3, 32, 32), torch.randint(3, (2, 32, 32)))])
    hidden = importance["encoder.0.blocks.0.feed_forward1"]
    assert hidden[3] == 0
    assert (np.delete(hidden, 3) > 0).all()


def test_a_damaged_unit_is_halved_and_nothing_else(whole, context):
    assert "decoder.0" in STEP.units(whole)
    image = context.probe_images(1)[0]
    with torch.inference_mode():
        expected = whole.network(torch.from_numpy(image)).numpy()
    damaged = STEP.damaged(whole, "encoder.1.blocks.0.channel_attention", context).run(image)
    assert damaged.shape == expected.shape
    assert np.abs(damaged - expected).max() > 0
    heads = channel_groups(whole.network)["encoder.1.blocks.0.channel_attention"].width
    assert heads == 8, "the network before must stay whole"


def test_a_unit_without_a_smaller_width_is_none_of_the_units(whole):
    network = copy.deepcopy(whole.network)
    keep_channels(network, {"decoder.0": range(8)})
    assert "decoder.0" not in STEP.units(Checkpoint(network, whole.config, whole.record))


def test_a_target_in_latency_is_searched_once(whole, context, tmp_path, monkeypatch):
    measured, macs_of = [], {}

    def write_down(checkpoint, output, data_set):
        """Replace the export; a test above exports such networks."""
        macs_of[output] = macs(checkpoint)

    def latency_by_macs(path, reference, *, engine, threads):
        """Replace the clock: a latency that equals the MACs of the exported network."""
        measured.append(path)
        return macs_of[path] / macs_of[reference], float(macs_of[reference])

    monkeypatch.setattr(pruning_target, "export_checkpoint", write_down)
    monkeypatch.setattr(pruning_target, "steady_ratio", latency_by_macs)
    monkeypatch.setattr(pruning_target, "BISECTIONS", 2)
    step = PruneChannels(target_latency=0.6, rounds=1, epochs=1, importance_slices=4, multiple=8)
    result = step.apply(whole, context, tmp_path, NOTHING)
    assert 0.4 * macs(whole) < macs(result.checkpoint) <= 0.5 * macs(whole)  # of 1/2 and 3/4, the one that is enough
    assert "this family of networks has no table" in result.facts["note"]
    assert len(measured) == 2
    step.apply(whole, context, tmp_path, NOTHING)
    assert len(measured) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 3}, "one of target_macs, target_latency, target_latency_ms and widths_of"),
        (
            {"epochs": 3, "target_macs": 0.5, "target_latency": 0.5},
            "one of target_macs, target_latency, target_latency_ms and widths_of",
        ),
        ({"epochs": 2, "target_macs": 0.5}, "2 epochs for 3 rounds; give at least one epoch per round"),
        ({"epochs": 3, "target_macs": 1.5}, "target_macs"),
        ({"epochs": 3, "target_mac": 0.5}, "did you mean 'target_macs'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        PruneChannels.parse(settings, source="recipe.yaml")
