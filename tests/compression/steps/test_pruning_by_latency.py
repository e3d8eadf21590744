"""Pruning by measured time: whole blocks that save time go, the export confirms it, and what saves nothing stays.

No test is timed: the table is made by hand, and an exported network takes what the table says, or what a test says.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import pytest
import torch

from embedded_vit.compression.step import StepContext, StepResult
from embedded_vit.compression.steps import prune_channels, pruning_target
from embedded_vit.compression.steps.channel_choice import next_width
from embedded_vit.compression.steps.prune_channels import PruneChannels
from embedded_vit.costs import latency_table as table_module
from embedded_vit.costs.latency_table import LatencyTable, TableCheck
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import Split
from embedded_vit.errors import ConfigError
from embedded_vit.layers.fused_block import FusedBlock
from embedded_vit.models.channels import channel_groups
from embedded_vit.models.registry import build_network, network_config
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.checkpoint import Checkpoint, TrainingRecord
from embedded_vit.training.settings import RunConfig, TrainingConfig

NOTHING: frozenset[str] = frozenset()
SETTINGS = {"rounds": 1, "epochs": 1, "importance_slices": 4, "multiple": 16}


@pytest.fixture(scope="module")
def whole(synapse_folder: Path) -> Checkpoint:
    """A network of the hybrid family with its first weights."""
    torch.manual_seed(0)
    data_set = open_data_set(synapse_folder)
    network = network_config(
        classes=data_set.labels.classes,
        image_size=32,
        family="hybrid",
        widths=(16, 32, 64),
        depth=1,
        hidden_ratio=2,
        stem_stride=2,
    )
    config = RunConfig(
        network=network,
        preprocessing=Preprocessing.for_modality("CT", image_size=32, output_stride=2),
        labels=data_set.labels,
        training=TrainingConfig.for_recipe("modern", batch_size=8),
    )
    split = Split(train=("case0001", "case0002"), validation=("case0003",), test=("case0005",), seed=0)
    record = TrainingRecord(data_folder=str(synapse_folder), data_fingerprint="0" * 64, split=split)
    return Checkpoint(build_network(network), config, record)


@pytest.fixture(scope="module")
def context(synapse_folder: Path, whole: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> StepContext:
    return StepContext(synapse_folder, whole, tmp_path_factory.mktemp("context"), threads=1)


class Machine:
    """A machine whose blocks take what `cost` says, in ms; it writes down what is measured and exported."""

    def __init__(self, cost: Callable[[FusedBlock], float]) -> None:
        self.cost = cost
        self.tables = self.exports = 0
        self.deviation = 0.0
        self.slower = 1.0  # factor of what exported networks take, the whole one excepted
        self.took: dict[Path, float] = {}

    def table(self, blocks, engine, *, threads, multiple, anew) -> LatencyTable:
        """Stand in for `latency_table`."""
        self.tables += 1
        entries = table_module._entries(blocks, multiple or 16)
        return LatencyTable(engine, threads, multiple or 16, 1.0, {block: self.cost(block) for block in entries})

    def check(self, table, blocks, graph, image) -> TableCheck:
        """Stand in for `check_table`."""
        return TableCheck(table.milliseconds(blocks) * (1 + self.deviation), table.milliseconds(blocks))

    def export(self, checkpoint: Checkpoint, output: Path, data_set: object) -> None:
        """Stand in for an export; the first one is the whole network."""
        self.exports += 1
        blocks = checkpoint.network.fused_blocks(32, input_channels=1)
        self.took[output] = sum(map(self.cost, blocks)) * (self.slower if output.name != "whole.onnx" else 1.0)

    def ratio(self, path: Path, reference: Path, *, engine: str, threads: int) -> tuple[float, float]:
        """Stand in for `steady_ratio`."""
        return self.took[path] / self.took[reference], self.took[reference]


def by_channels(block: FusedBlock) -> float:
    """Every product of two widths takes the same time."""
    return float(block.widths[0] * block.widths[-1]) if block.kind != "frame" else 100.0


def only_perceptrons(block: FusedBlock) -> float:
    """Nothing but the perceptron takes time."""
    return float(block.widths[1]) if block.kind == "perceptron" else 0.0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(by_channels)
    monkeypatch.setattr(pruning_target, "latency_table", made.table)
    monkeypatch.setattr(pruning_target, "check_table", made.check)
    monkeypatch.setattr(pruning_target, "export_checkpoint", made.export)
    monkeypatch.setattr(pruning_target, "steady_ratio", made.ratio)
    monkeypatch.setattr(pruning_target, "onnx_graph", lambda *_: b"")
    return made


def pruned(whole: Checkpoint, context: StepContext, folder: Path, **settings: object) -> Checkpoint:
    """Prune without training."""
    return PruneChannels.parse({**SETTINGS, **settings}, source="test").at_once(whole, context, folder)


def applied(whole: Checkpoint, context: StepContext, folder: Path, **settings: object) -> StepResult:
    """Prune and train."""
    return PruneChannels.parse({**SETTINGS, **settings}, source="test").apply(whole, context, folder, NOTHING)


def milliseconds(machine: Machine, checkpoint: Checkpoint) -> float:
    return sum(map(machine.cost, checkpoint.network.fused_blocks(32, input_channels=1)))


def test_the_target_is_reached_in_milliseconds_and_confirmed_once(machine, whole, context, tmp_path) -> None:
    result = pruned(whole, context, tmp_path, target_latency=0.6)
    assert 0.4 < milliseconds(machine, result) / milliseconds(machine, whole) <= 0.6
    assert machine.exports == 2  # the whole network and the pruned one
    groups = channel_groups(result.network)
    kept = result.config.network.kept_channels
    assert kept
    assert all(width * groups[name].unit % 16 == 0 for name, width in kept.items())


def test_what_saves_no_time_is_not_taken_whatever_its_macs(machine, whole, context, tmp_path) -> None:
    machine.cost = only_perceptrons
    result = pruned(whole, context, tmp_path, target_latency=0.5)
    assert result.config.network.kept_channels == {"tokens.0.expansion": 64}


def test_a_block_of_a_wide_group_may_save_little(machine, whole, context, tmp_path) -> None:
    machine.cost = lambda block: 100.0 if block.kind == "frame" else 0.01 * only_perceptrons(block)
    result = pruned(whole, context, tmp_path, target_latency=0.995)
    assert set(result.config.network.kept_channels) == {"tokens.0.expansion"}


def test_what_costs_more_time_goes_first_at_equal_importance(machine, whole, context, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        "embedded_vit.compression.steps.prune_channels.channel_importance",
        lambda network, *_: {name: np.full(g.width, float(g.unit)) for name, g in channel_groups(network).items()},
    )
    monkeypatch.setattr(prune_channels, "_known_importance", WeakKeyDictionary())
    machine.cost = lambda block: {"pair": 10.0, "frame": 1.0}.get(block.kind, 1.0) * block.widths[-1]
    kept = pruned(whole, context, tmp_path, target_latency=0.95).config.network.kept_channels
    assert kept
    assert kept.keys() <= {"encoder.1.first", "decoder.1.first"}


def test_a_table_that_is_too_kind_is_found_out_by_the_export(machine, whole, context, tmp_path) -> None:
    machine.slower = 1.25
    result = pruned(whole, context, tmp_path, target_latency=0.7)
    assert 1.25 * milliseconds(machine, result) <= 0.7 * milliseconds(machine, whole)
    assert machine.exports > 2


def test_a_latency_that_no_width_has_is_refused(machine, whole, context, tmp_path) -> None:
    machine.slower = 100.0
    with pytest.raises(ConfigError, match=r"0\.70 of before cannot be reached: with .* of the ms .*; raise the target"):
        pruned(whole, context, tmp_path, target_latency=0.7)


def test_the_nearest_is_taken_where_no_width_is_as_fast(machine, whole, context, tmp_path) -> None:
    machine.slower = 1.2
    result = applied(whole, context, tmp_path, target_latency=0.05, nearest=True)
    assert result.checkpoint.config.network.kept_channels
    assert "0.05 of before cannot be reached" in result.facts["note"]
    assert result.facts["note"].endswith("% is taken")
    left = 1.2 * milliseconds(machine, result.checkpoint) / milliseconds(machine, whole)
    assert f"; {left:.0%} is taken" in result.facts["note"]


def test_the_nearest_is_the_network_itself_where_none_is_faster(machine, whole, context, tmp_path) -> None:
    machine.slower = 100.0
    result = applied(whole, context, tmp_path, target_latency=0.7, nearest=True)
    assert result.checkpoint is whole
    assert result.facts["note"].endswith("no smaller network is faster")


def test_milliseconds_are_a_target_of_their_own(machine, whole, context, tmp_path) -> None:
    limit_ms = 0.6 * milliseconds(machine, whole)
    result = pruned(whole, context, tmp_path, target_latency_ms=limit_ms)
    assert milliseconds(machine, result) <= limit_ms


@pytest.mark.parametrize(
    ("settings", "cost", "reason"),
    [
        ({"target_latency_ms": 1e9}, by_channels, "not taken: the network takes"),
        ({"target_latency": 0.5}, lambda _: 1.0, "not taken: no block of 16 channels saves any time"),
    ],
)
def test_a_step_that_would_save_nothing_is_not_taken_and_says_so(
    settings, cost, reason, machine, whole, context, tmp_path
) -> None:
    machine.cost = cost
    result = applied(whole, context, tmp_path, **settings)
    assert result.checkpoint is whole
    assert result.facts["note"].startswith(reason)
    assert not list(tmp_path.glob("round-*"))


@pytest.mark.parametrize(("deviation", "tables"), [(0.11, 2), (-0.3, 2), (0.09, 1)])
def test_a_table_that_is_off_is_measured_again_and_then_does_not_choose(
    deviation, tables, machine, whole, context, tmp_path
) -> None:
    machine.deviation = deviation
    result = applied(whole, context, tmp_path, target_latency=0.7)
    by_macs = abs(deviation) > 0.1
    assert machine.tables == tables
    distrusted = "channels are chosen by MACs, as the table of latencies cannot be trusted"
    assert (distrusted in result.facts["note"]) is by_macs
    assert f"{deviation:+.1%}" in result.facts["note"]
    assert ("table_ms_by_round" in result.facts) is not by_macs
    assert milliseconds(machine, result.checkpoint) <= 0.7 * milliseconds(machine, whole)


def test_a_killed_step_goes_on_with_the_table_that_it_began_with(machine, whole, context, tmp_path) -> None:
    first = pruned(whole, context, tmp_path, target_latency=0.6)
    machine.cost = only_perceptrons  # what the machine says now does not matter
    again = pruned(whole, context, tmp_path, target_latency=0.6)
    assert (machine.tables, machine.exports) == (1, 2)
    assert again.config == first.config


@pytest.mark.parametrize(
    ("width", "unit", "multiple", "whole_blocks", "expected"),
    [
        (64, 1, 16, True, 48),
        (60, 1, 16, True, 48),
        (16, 1, 16, True, None),
        (4, 8, 16, True, 2),  # two heads of 8 channels fill a block
        (4, 8, 16, False, 3),
        (4, 4, 16, True, None),  # four heads of 4 are one block
        (4, 32, 16, True, 3),
    ],
)
def test_a_bundle_leaves_whole_blocks(width, unit, multiple, whole_blocks, expected) -> None:
    assert next_width(width, unit=unit, multiple=multiple, whole_blocks=whole_blocks) == expected
