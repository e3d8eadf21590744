"""The target of `prune_channels`: what the network that is left may cost, in MACs or in measured milliseconds.

For a target in latency, channels are chosen by a table of latencies (`costs.latency_table`, and `costs.product_table`
for the networks of users), and the exported network is measured to confirm it. Where a table does not predict the whole
network, or there is none for its family, channels are chosen by MACs, and the fraction of the MACs that is fast enough
is searched.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from weakref import WeakKeyDictionary

from torch import nn

from embedded_vit.compression.step import StepContext
from embedded_vit.compression.steps.channel_choice import (
    Cost,
    Prunable,
    macs_cost,
    next_width,
    saves_anything,
    shrinkable,
)
from embedded_vit.costs.latency import steady_ratio
from embedded_vit.costs.latency_table import MOST_DEVIATION, LatencyTable, channel_block, check_table, latency_table
from embedded_vit.costs.product_table import ProductTable, product_table
from embedded_vit.engines import EngineName, example_image, fastest_for_graph
from embedded_vit.errors import CheckpointError, ConfigError
from embedded_vit.export.exporting import export_checkpoint, onnx_graph
from embedded_vit.io.atomic import write_text
from embedded_vit.io.json_file import read_json_object
from embedded_vit.layers.fused_block import FusedBlock
from embedded_vit.models.channels import ChannelGroup, channel_groups
from embedded_vit.models.layered_network import LayeredNetwork
from embedded_vit.models.traced.network import TracedNetwork
from embedded_vit.training.checkpoint import Checkpoint

__all__ = ["LatencySearch", "Target", "cost_in_macs", "prunable"]

BISECTIONS = 6  # of the cost: exact to 1.6 % of the whole network's
TARGET = "target.json"
MACS_MULTIPLE = 8
NOISE = 0.02  # of the whole latency: networks that differ by less are equally fast


@dataclass(frozen=True)
class Target:
    """What the network that is left may cost.

    Attributes:
        amount: The most that it may cost.
        cost: What counts.
        least: Group name -> the smallest width that it may get, for the groups that have such a limit.
        note: What the user should know about the target, one line; may be empty.
        pointless: Whether there is nothing to do or to gain; `note` says why.
    """

    amount: float
    cost: Cost
    least: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    pointless: bool = False


_traced: WeakKeyDictionary[nn.Module, TracedNetwork] = WeakKeyDictionary()  # a network is traced once, in seconds


def prunable(checkpoint: Checkpoint) -> Prunable:
    """Return the network of a checkpoint in a form whose channels can be removed; a user's own network is traced.

    Raises:
        NetworkError: PyTorch cannot trace it.
    """
    network = checkpoint.network
    if isinstance(network, (LayeredNetwork, TracedNetwork)):
        return network
    if network not in _traced:
        preprocessing = checkpoint.config.preprocessing
        side = preprocessing.image_size
        _traced[network] = TracedNetwork.of(network, (preprocessing.input_channels, side, side))
    return _traced[network]


def cost_in_macs(checkpoint: Checkpoint, multiple: int | None = None) -> Cost:
    """Return the multiply-accumulates of one image as what counts; widths in multiples of 8 by default."""
    preprocessing = checkpoint.config.preprocessing
    return macs_cost(
        preprocessing.image_size, input_channels=preprocessing.input_channels, multiple=multiple or MACS_MULTIPLE
    )


@dataclass(frozen=True)
class LatencySearch:
    """The search for the target that reaches a latency.

    Attributes:
        before: The network before the step.
        context: Data, engine and threads.
        folder: The step's folder, which remembers the result.
        fraction: Of the latency that is to be left; None for `limit_ms`.
        limit_ms: The latency to reach; None for `fraction`.
        multiple: Of the widths that are left; None for the engine's block of channels.
        protected: Groups that lose no channels.
        pruned: Prunes the network to a target, without training.
        nearest: Whether the fastest network that was found is taken where none is fast enough.
    """

    before: Checkpoint
    context: StepContext
    folder: Path
    fraction: float | None
    limit_ms: float | None
    multiple: int | None
    protected: frozenset[str]
    pruned: Callable[[Target], Checkpoint]
    nearest: bool = False

    def target(self) -> Target:
        """Return the target: from the folder where a killed step left it, or else found and written there.

        Raises:
            ConfigError: No network is that fast.
        """
        path = self.folder / TARGET
        if path.is_file():
            return self._read(path)
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as temporary:
            table, note = self._table()
            target = self._found(Path(temporary), self._cost(table), note)
        values = {"amount": target.amount, "note": target.note, "pointless": target.pointless}
        plain = None if table is None else table.plain()
        write_text(path, json.dumps({**values, "table": plain}), overwrite=True)
        return target

    def _read(self, path: Path) -> Target:
        values = read_json_object(path, CheckpointError)
        if "target_macs" in values:  # as older versions wrote it: a fraction
            cost = self._cost(None)
            return Target(int(values["target_macs"] * cost.of(prunable(self.before))), cost)
        plain, network = values["table"], prunable(self.before)
        table: LatencyTable | ProductTable | None = None
        if plain is not None and isinstance(network, TracedNetwork):
            table = ProductTable.from_plain(plain, network)
        elif plain is not None:
            table = LatencyTable.from_plain(plain, self._blocks)
        return Target(values["amount"], self._cost(table), {}, values["note"], values["pointless"])

    @cached_property
    def _blocks(self) -> list[FusedBlock]:
        preprocessing = self.before.config.preprocessing
        network = prunable(self.before)
        assert isinstance(network, LayeredNetwork)
        return network.fused_blocks(preprocessing.image_size, input_channels=preprocessing.input_channels)

    def _table(self) -> tuple[LatencyTable | ProductTable | None, str]:
        """Return a table that predicts the network, and what the check says; None where there is none."""
        network = prunable(self.before)
        if isinstance(network, TracedNetwork):
            return self._product_table(network)
        if not self._blocks:
            return None, "channels are chosen by MACs: this family of networks has no table of latencies"
        preprocessing = self.before.config.preprocessing
        threads, engine = self.context.threads, self._engine()
        for anew in (False, True):  # the machine may have been busy when the cached figures were measured
            table = latency_table(self._blocks, engine, threads=threads, multiple=self.multiple, anew=anew)
            check = check_table(table, self._blocks, self._graph, example_image(preprocessing))
            if check.holds:
                return table, f"channels are chosen by measured latency: {check}"
        return None, f"channels are chosen by MACs, as the table of latencies cannot be trusted: {check}"

    def _product_table(self, network: TracedNetwork) -> tuple[ProductTable | None, str]:
        preprocessing, multiple = self.before.config.preprocessing, self.multiple or channel_block()
        narrowed = {
            name: width for name, group in channel_groups(network).items() if (width := _halved(group, multiple))
        }
        if not narrowed:
            return None, ""
        table, check = product_table(
            network,
            narrowed,
            lambda smaller: onnx_graph(smaller.float().eval(), preprocessing),
            example_image(preprocessing),
            self._engine(),
            threads=self.context.threads,
        )
        said = (
            f"for a narrower network {check.sum_ms:.2f} ms are predicted and {check.whole_ms:.2f} ms measured "
            f"({check.deviation:+.1%}, at most {MOST_DEVIATION:.0%} either way)"
        )
        if check.holds:
            return table, f"channels are chosen by measured latency: {said}"
        return None, f"channels are chosen by MACs, as the table of latencies cannot be trusted: {said}"

    @cached_property
    def _graph(self) -> bytes:
        return onnx_graph(self.before.network.float().eval(), self.before.config.preprocessing)

    def _engine(self) -> EngineName:
        if self.context.engine != "auto":
            return self.context.engine
        return fastest_for_graph(self._graph, self.before.config.preprocessing, threads=self.context.threads).engine

    def _cost(self, table: LatencyTable | ProductTable | None) -> Cost:
        """Return what counts: milliseconds by the table, or MACs."""
        preprocessing, multiple = self.before.config.preprocessing, self.multiple or channel_block()
        if table is None:
            return cost_in_macs(self.before, multiple)
        if isinstance(table, ProductTable):
            return Cost(
                lambda network: table.milliseconds(
                    {name: group.width for name, group in channel_groups(network).items()}
                ),
                "ms",
                multiple,
                whole_blocks=True,
                of_widths=table.milliseconds,
            )

        def milliseconds(network: Prunable) -> float:
            assert isinstance(network, LayeredNetwork)  # a table is made for these alone
            blocks = network.fused_blocks(preprocessing.image_size, input_channels=preprocessing.input_channels)
            return table.milliseconds(blocks)

        return Cost(milliseconds, "ms", multiple, whole_blocks=True)

    def _found(self, temporary: Path, cost: Cost, note: str) -> Target:
        """Find the target: the one asked for if the exported network confirms it, else by bisection."""
        whole = cost.of(prunable(self.before))
        shapes = shrinkable(prunable(self.before), self.before.config.network, cost)
        if not saves_anything(shapes, cost, protected=self.protected):
            pointless = f"not taken: no block of {cost.multiple} channels saves any time"
            return Target(whole, cost, note=pointless, pointless=True)
        artifact = temporary / "whole.onnx"
        export_checkpoint(self.before, artifact, None)  # for its latency: what its masks look like does not count
        if self.fraction is None:
            assert self.limit_ms is not None
            _, whole_ms = self._ratio(artifact, artifact)
            if whole_ms <= self.limit_ms:
                pointless = f"not taken: the network takes {whole_ms:.2f} ms already, {self.limit_ms:g} are asked for"
                return Target(whole, cost, note=pointless, pointless=True)
            wanted = self.limit_ms / whole_ms
        else:
            wanted = self.fraction
        by_table = cost.whole_blocks
        fast_enough, too_slow, found = 0.0, 1.0, 0.0
        slower = {1.0: 1.0}  # share -> ratio of networks that are not fast enough
        for attempt in range(BISECTIONS):
            share = wanted if by_table and attempt == 0 else (fast_enough + too_slow) / 2
            try:
                pruned = self.pruned(Target(share * whole, cost))
            except ConfigError:  # no network is that small
                fast_enough = share
                continue
            path = temporary / f"{attempt}.onnx"
            export_checkpoint(pruned, path, None)
            ratio, _ = self._ratio(path, artifact)
            if ratio <= wanted:
                found = fast_enough = share
                if by_table and attempt == 0:
                    break
            else:
                too_slow, slower[share] = share, ratio
        if not found:
            left = f"a latency of {wanted:.2f} of before cannot be reached: with {too_slow:.1%} of the {cost.unit} "
            left += f"{slower[too_slow]:.0%} of it is left"
            if not self.nearest:
                raise ConfigError(f"prune_channels: {left}; raise the target, or set nearest: true")
            return self._nearest(slower, whole, cost, left)
        return Target(found * whole, cost, note=note)

    @staticmethod
    def _nearest(slower: Mapping[float, float], whole: float, cost: Cost, left: str) -> Target:
        """Return the target of the largest network that is about as fast as the fastest one that was found."""
        fastest = min(slower.values())
        share = max(share for share, ratio in slower.items() if ratio <= fastest + NOISE)
        if share == 1:
            return Target(whole, cost, note=f"not taken: {left}, and no smaller network is faster", pointless=True)
        return Target(share * whole, cost, note=f"{left}; {slower[share]:.0%} is taken")

    def _ratio(self, path: Path, whole: Path) -> tuple[float, float]:
        return steady_ratio(path, whole, engine=self.context.engine, threads=self.context.threads)


def _halved(group: ChannelGroup, multiple: int) -> int | None:
    """Return the widest width of whole blocks that is at most half of a group's, or the narrowest; None for none."""
    width, narrower = None, next_width(group.width, unit=group.unit, multiple=multiple, whole_blocks=True)
    while narrower is not None and narrower >= group.least and (width is None or width > group.width / 2):
        width, narrower = narrower, next_width(narrower, unit=group.unit, multiple=multiple, whole_blocks=True)
    return width
