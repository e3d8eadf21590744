"""A user's own network loses channels as ours do, and what is left is an ordinary run folder."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from network_fixtures import untrained_run

from embedded_vit.compression.step import StepContext, StepResult
from embedded_vit.compression.steps import pruning_target
from embedded_vit.compression.steps.prune_channels import PruneChannels
from embedded_vit.compression.steps.pruning_target import prunable
from embedded_vit.costs.complexity import complexity
from embedded_vit.costs.latency_table import TableCheck
from embedded_vit.costs.product_table import ProductTable
from embedded_vit.datasets import open_data_set
from embedded_vit.engines import example_image, load
from embedded_vit.export.exporting import ExportReport, export
from embedded_vit.models.channels import channel_groups
from embedded_vit.models.registry import network_config
from embedded_vit.models.traced.groups import TracedChannels
from embedded_vit.training.checkpoint import Checkpoint, load_checkpoint

NOTHING: frozenset[str] = frozenset()
STEP = PruneChannels(target_macs=0.5, rounds=1, epochs=1, importance_slices=4, multiple=4)


@pytest.fixture(scope="module", params=["UNet", "SwinUNet"])
def whole(request, synapse_folder, tmp_path_factory) -> Checkpoint:
    classes = open_data_set(synapse_folder).labels.classes
    network = network_config(classes=classes, image_size=32, in_channels=1, model=f"other_networks:{request.param}")
    return load_checkpoint(untrained_run(tmp_path_factory.mktemp("whole") / "run", network, synapse_folder))


@pytest.fixture(scope="module")
def context(synapse_folder, whole, tmp_path_factory) -> StepContext:
    return StepContext(synapse_folder, whole, tmp_path_factory.mktemp("context"), threads=1)


@pytest.fixture(scope="module")
def pruned_folder(whole, tmp_path_factory) -> Path:  # one for each network
    return tmp_path_factory.mktemp("pruned")


@pytest.fixture(scope="module")
def result(whole, context, pruned_folder) -> StepResult:
    return STEP.apply(whole, context, pruned_folder, NOTHING)


@pytest.fixture(scope="module")
def report(result, pruned_folder, tmp_path_factory) -> ExportReport:
    return export(pruned_folder / "round-1", tmp_path_factory.mktemp("exported") / "model.onnx")


def test_half_of_the_multiply_accumulates_are_left(result, whole):
    (left,) = result.facts["macs_by_round"]
    assert 0.4 < left / result.facts["macs_before"] <= 0.5
    assert complexity(whole.config.network).macs == result.facts["macs_before"]
    assert complexity(result.checkpoint.config.network).macs == left


def test_the_run_folder_holds_the_pruned_network(result, pruned_folder):
    again = load_checkpoint(pruned_folder / "round-1")
    image = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(again.network(image), result.checkpoint.network(image))
    assert again.config.network.kept_channels


def test_its_artifact_computes_what_it_computes(result, report):
    assert report.agreement.max_logit_difference < 1e-4
    image = example_image(result.checkpoint.config.preprocessing)
    with torch.inference_mode():
        expected = result.checkpoint.network(torch.from_numpy(image)).numpy()
    assert abs(load(report.path).run(image) - expected).max() < 1e-4


def test_the_engine_of_a_browser_gives_its_logits(report, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[3] / "benchmarks")
    module = importlib.import_module("browser_engine")
    engine = module.browser_engine()
    if engine is None:
        pytest.skip("needs Node and onnxruntime-web, see benchmarks/browser_engine.py")
    found = module.run_in_browser(report.path, engine)
    assert found.largest_difference < 1e-4
    assert found.equal_labels


def test_it_is_pruned_a_second_time(result, context, tmp_path):
    step = PruneChannels(target_macs=0.6, rounds=1, epochs=1, importance_slices=4, multiple=4)
    twice = step.at_once(result.checkpoint, context, tmp_path)
    assert complexity(twice.config.network).macs <= 0.6 * complexity(result.checkpoint.config.network).macs
    twice.save(tmp_path / "twice")
    image = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(load_checkpoint(tmp_path / "twice").network(image), twice.network(image))


def test_its_groups_are_units_of_the_gate(whole, context):
    units = STEP.units(whole)
    assert units
    engine = STEP.damaged(whole, units[0], context)
    assert engine.run(example_image(whole.config.preprocessing)).shape == (1, whole.config.labels.classes, 32, 32)


def test_for_a_latency_channels_go_by_what_products_take(whole, context, tmp_path, monkeypatch):
    channels = TracedChannels(prunable(whole))
    took_ms = np.zeros(len(channels.product_macs) + len(channels.widths))
    took_ms[np.argmax(channels.product_macs)] = 10.0
    table, took = ProductTable(channels, took_ms, 1.0), {}

    def export_checkpoint(checkpoint, output, _):
        widths = {name: group.width for name, group in channel_groups(prunable(checkpoint)).items()}
        took[output] = table.milliseconds(widths)

    monkeypatch.setattr(pruning_target, "product_table", lambda *_, **__: (table, TableCheck(1.0, 1.0)))
    monkeypatch.setattr(pruning_target, "export_checkpoint", export_checkpoint)
    monkeypatch.setattr(
        pruning_target, "steady_ratio", lambda path, other, **_: (took[path] / took[other], took[other])
    )
    step = PruneChannels(target_latency=0.6, rounds=1, epochs=1, importance_slices=4, multiple=4)
    pruned = step.at_once(whole, context, tmp_path)
    assert len(took) == 2  # the whole network and the pruned one: nothing is searched
    kept = pruned.config.network.kept_channels
    assert kept
    assert all(table.milliseconds({name: width}) < 11 for name, width in kept.items())
    monkeypatch.setattr(pruning_target, "product_table", None)  # a killed step does not measure again
    assert step.at_once(whole, context, tmp_path).config.network.kept_channels == kept


def test_a_table_that_predicts_nothing_leaves_the_order_to_macs(whole, context, tmp_path, monkeypatch):
    channels = TracedChannels(prunable(whole))
    table = ProductTable(channels, np.ones(len(channels.product_macs) + len(channels.widths)), 1.0)
    monkeypatch.setattr(pruning_target, "product_table", lambda *_, **__: (table, TableCheck(1.0, 2.0)))
    monkeypatch.setattr(pruning_target, "export_checkpoint", lambda *_: None)
    monkeypatch.setattr(pruning_target, "steady_ratio", lambda *_, **__: (0.4, 1.0))
    step = PruneChannels(target_latency=0.5, rounds=1, epochs=1, importance_slices=4, multiple=4)
    target = step._target(whole, context, tmp_path, NOTHING)
    assert target.cost.unit == "MACs"
    assert "cannot be trusted" in target.note
