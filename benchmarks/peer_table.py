"""Make the tables and the plot of one or several comparisons that benchmarks/peers.py trained and measured.

    python benchmarks/peer_table.py FOLDER [FOLDER ...] --output FOLDER

Each FOLDER is an `--output` of peers.py with finished cells, one per data set. Writes `peers.md` and `peers.png`, and
prints the tables. Nothing is trained and nothing is measured.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from peer_cells import Entry, entries_of, read_cells
from peer_latency import YARDSTICK, Costs, read_costs
from peer_plot import Dot, Panel, save_plot

from embedded_vit.about import RESEARCH_USE_ONLY
from embedded_vit.errors import ConfigError, EmbeddedVitError
from embedded_vit.evaluation.statistics import Estimate, summarise
from embedded_vit.io.atomic import write_text

__all__ = ["BUDGETS", "CompareAt", "Study", "cost_table", "read_study", "verdict", "write_tables"]

BUDGETS = (0.4, 1.0, 3.5, 8.5)  # in units of the yardstick's latency
ENGINE = "ONNX Runtime"  # whose latency decides what is within a budget
EQUAL_LATENCY = 1.25  # the U-Net of equal latency is at most so many times slower or faster
NOTHING = "–"
TABLE, PLOT = "peers.md", "peers.png"


@dataclass(frozen=True)
class Study:
    """One data set: its entries, its structures, and what the networks cost."""

    data: str
    entries: tuple[Entry, ...]
    structures: tuple[str, ...]
    costs: Costs

    def lengths(self) -> list[str]:
        """Return the lengths of training, passes before minutes."""
        return sorted({entry.length for entry in self.entries}, key=_order_of_length)

    def trained_for(self, length: str) -> list[Entry]:
        """Return the entries of one length, the fastest first."""
        entries = [entry for entry in self.entries if entry.length == length]
        return sorted(entries, key=lambda entry: self.units(entry) or math.inf)

    def units(self, entry: Entry) -> float | None:
        """Return the latency in units of the yardstick's; None where it was not measured."""
        costs = self.costs.networks.get(entry.at_size)
        return None if costs is None else costs.units.get(ENGINE)


@dataclass(frozen=True)
class CompareAt:
    """The networks within a budget, and whom they are compared on.

    Attributes:
        pairs: (patient, seed) that every compared network has.
        entries: The networks that have them all.
        left_out: Those that do not.
    """

    pairs: frozenset[tuple[str, int]]
    entries: tuple[Entry, ...]
    left_out: tuple[Entry, ...]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> CompareAt:
        """Take the most patients and seeds that one of ours and one peer have; without both, that anybody has."""
        sets = sorted({frozenset(entry.dice) for entry in entries}, key=lambda pairs: (len(pairs), sorted(pairs)))
        shared = [pairs for pairs in sets if len({entry.ours for entry in entries if pairs <= entry.dice.keys()}) == 2]
        pairs = (shared or sets)[-1]
        return cls(
            pairs,
            tuple(entry for entry in entries if pairs <= entry.dice.keys()),
            tuple(entry for entry in entries if not pairs <= entry.dice.keys()),
        )

    def dice(self, entry: Entry) -> float:
        """Return an entry's Dice on these pairs."""
        mean = summarise(entry.by_patient(self.pairs), resamples=1).overall.mean
        return math.nan if mean is None else mean


@dataclass(frozen=True)
class Verdict:
    """The best of ours within a budget beside the best peer within it."""

    compared: CompareAt
    ours: Entry
    peer: Entry
    gain: Estimate
    better: int
    patients: int

    @property
    def word(self) -> str:
        """Whether ours is ahead by an interval that excludes 0, behind by one, or neither."""
        low, high = self.gain.low, self.gain.high
        if low is None or high is None:
            return "one patient only"
        return "ahead" if low > 0 else "behind" if high < 0 else "not decided"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    print(write_tables([read_study(folder) for folder in arguments.folders], arguments.output))


def read_study(folder: Path) -> Study:
    """Read the finished cells of a comparison and what was measured of its networks.

    Raises:
        ConfigError: There are none, or they do not fit together.
    """
    cells = read_cells(folder)
    if not cells:
        raise ConfigError(f"{folder}: no finished cell; train one with peers.py --folds, --test-last or --seeds")
    names = {cell.data for cell in cells.values()}
    if len(names) > 1:
        raise ConfigError(f"{folder}: cells of {', '.join(sorted(names))}: expected one data set in a folder")
    entries, structures = entries_of(cells)
    return Study(names.pop(), tuple(entries), structures, read_costs(folder))


def write_tables(studies: Sequence[Study], output: Path) -> str:
    """Write the tables and the plot into a folder, and return the tables.

    Raises:
        OutputError: The folder cannot be written.
    """
    lines = ["# Dice at equal latency", "", f"**{RESEARCH_USE_ONLY}**", ""]
    panels = []
    for study in studies:
        lines += [f"## {study.data}", "", *cost_table(study.costs), ""]
        for length in study.lengths():
            lines += [f"### {length} of training", "", *_dice_table(study, length), ""]
            lines += [*_budget_table(study, length), ""]
            panels.append(_panel(study, length))
    if len(studies) > 1:
        lines += [*_summary_table(studies), ""]
    text = "\n".join([*lines, *(f"- {note}" for note in _notes(studies)), ""])
    write_text(output / TABLE, text, overwrite=True)
    save_plot(panels, output / PLOT)
    return text


def cost_table(costs_of_all: Costs) -> list[str]:
    """Return what every network costs, as the lines of a table, the fastest first."""
    engines = sorted({engine for costs in costs_of_all.networks.values() for engine in costs.latency_ms})
    rows = []
    for name, costs in sorted(costs_of_all.networks.items(), key=lambda item: item[1].latency_ms.get(ENGINE, math.inf)):
        of_engines = [
            [f"{costs.units[engine]:.2f}" if engine in costs.units else NOTHING for engine in engines],
            [f"{costs.latency_ms[engine]:.2f}" if engine in costs.latency_ms else NOTHING for engine in engines],
            [_giga_macs(costs_of_all, name, engine) for engine in engines],
        ]
        macs, file = f"{costs.macs / 1e6:.0f} M", f"{costs.file_bytes / 1e6:.2f} MB"
        rows.append((name, *map(" / ".join, of_engines), macs, file))
    return _table(("Network", f"Units, {' / '.join(engines)}", "ms", "G MAC/s (of the U-Net's)", "MACs", "File"), rows)


def _giga_macs(costs: Costs, name: str, engine: str) -> str:
    """The throughput in an engine, and in brackets divided by that of the slim U-Net of equal latency."""
    own = costs.networks[name]
    if engine not in own.latency_ms:
        return NOTHING
    unets = [
        other
        for label, other in costs.networks.items()
        if label.startswith("unet-") and label != name and engine in other.latency_ms
    ]
    distance = [abs(math.log(other.latency_ms[engine] / own.latency_ms[engine])) for other in unets]
    if not distance or min(distance) > math.log(EQUAL_LATENCY):
        return f"{own.giga_macs_a_second(engine):.0f}"
    nearest = unets[int(np.argmin(distance))]
    ratio = own.giga_macs_a_second(engine) / nearest.giga_macs_a_second(engine)
    return f"{own.giga_macs_a_second(engine):.0f} ({ratio:.2f})"


def _dice_table(study: Study, length: str) -> list[str]:
    rows = []
    for entry in study.trained_for(length):
        pairs = frozenset(entry.dice)
        summary = summarise(entry.by_patient(pairs))
        worst = min(
            ((organ.mean, name) for organ, name in zip(summary.organs, study.structures, strict=True)
             if organ.mean is not None),
            default=None,
        )  # fmt: skip
        patients, seeds = ({pair[place] for pair in pairs} for place in (0, 1))
        rows.append(
            (
                f"**{entry.network}**" if entry.ours else entry.network,
                estimate_text(summary.overall),
                NOTHING if worst is None else f"{worst[1]} {worst[0]:.2f}",
                f"{len(patients)} x {len(seeds)}",
                f"{entry.passes:.3g}",
                f"{entry.minutes:.1f}",
            )
        )
    return _table(("Network", "Dice [95 %]", "Worst structure", "Patients x seeds", "Passes", "Minutes"), rows)


def verdict(study: Study, length: str, budget: float) -> Verdict | None:
    """Compare the best of ours within a budget with the best peer within it; None where one is missing.

    Args:
        study: The entries and the costs.
        length: Of training.
        budget: The largest latency, in units.
    """
    within = [entry for entry in study.trained_for(length) if (study.units(entry) or math.inf) <= budget]
    if {entry.ours for entry in within} != {True, False}:
        return None
    compared = CompareAt.of(within)
    best = {
        ours: max((entry for entry in compared.entries if entry.ours is ours), key=compared.dice, default=None)
        for ours in (True, False)
    }
    ours, peer = best[True], best[False]
    if ours is None or peer is None:
        return None
    gains = ours.by_patient(compared.pairs) - peer.by_patient(compared.pairs)
    known = gains[~np.isnan(gains).all(axis=1)]
    better = int((np.nanmean(known, axis=1) > 0).sum())
    return Verdict(compared, ours, peer, summarise(gains).overall, better, len(gains))


def _budget_table(study: Study, length: str) -> list[str]:
    rows: list[tuple[str, ...]] = []
    left_out = []
    for budget in BUDGETS:
        found = verdict(study, length, budget)
        if found is None:
            rows.append((f"{budget:g}", NOTHING, NOTHING, NOTHING, NOTHING, "not compared"))
            continue
        rows.append(
            (
                f"{budget:g}",
                *(f"{entry.network} {found.compared.dice(entry):.3f}" for entry in (found.ours, found.peer)),
                _points(found.gain),
                f"{found.better} of {found.patients}",
                found.word,
            )
        )
        if names := [entry.network for entry in found.compared.left_out]:
            left_out.append(f"Within {budget:g}, trained on fewer patients or seeds and left out: {', '.join(names)}.")
    header = ("Budget, units", "Our best", "Best peer", "Gain, points [95 %]", "Patients better", "Ours")
    return [*_table(header, rows), *(line for note in left_out for line in ("", note))]


def _summary_table(studies: Sequence[Study]) -> list[str]:
    """For each budget and length, the gain on every data set."""
    lengths = sorted({length for study in studies for length in study.lengths()}, key=_order_of_length)
    rows = []
    for length in lengths:
        for budget in BUDGETS:
            cells = []
            for study in studies:
                found = verdict(study, length, budget)
                cells.append(NOTHING if found is None else f"{_points(found.gain)} {found.word}")
            rows.append((f"{length}, {budget:g}", *cells))
    header = ("Training, budget", *(study.data for study in studies))
    return ["## Our gain over the best peer, points", "", *_table(header, rows)]


def _panel(study: Study, length: str) -> Panel:
    dots = []
    entries = study.trained_for(length)
    most = max(len(entry.dice) for entry in entries)
    for entry in entries:
        costs = study.costs.networks.get(entry.at_size)
        if costs is not None and ENGINE in costs.latency_ms:
            dice, complete = CompareAt.of([entry]).dice(entry), len(entry.dice) == most
            dots.append(Dot(entry.network, costs.latency_ms[ENGINE], dice, entry.ours, complete))
    return Panel(f"{study.data}, {length}", tuple(dots))


def _notes(studies: Sequence[Study]) -> list[str]:
    notes = [
        f"Units: latency divided by that of {YARDSTICK} in the same run, one slice, one thread, networks in turns. "
        f"A budget counts units of {ENGINE}.",
        "Dice: protocol strict, exported files, patients that did not train; the mean over a patient's cases, then "
        "over seeds, then over patients, then over structures. Intervals: bootstrap over patients; gains are paired.",
        "Our best and the best peer are chosen by the same patients that the gain is measured on.",
        "Ours are bold. Within a budget, networks are compared on the most patients and seeds that one of ours and one "
        "peer have.",
        "G MAC/s, in brackets: divided by that of the slim U-Net nearest in latency, if that is within a quarter.",
    ]
    for study in studies:
        notes += [f"{study.data}: {study.costs.machine}; costs measured {study.costs.created}.", *study.costs.doubts]
        unmeasured = sorted({entry.network for entry in study.entries if study.units(entry) is None})
        if unmeasured:
            notes.append(f"{study.data}: no latency of {', '.join(unmeasured)}: run peers.py without --cells-only.")
    return notes


def _order_of_length(length: str) -> tuple[bool, float]:
    """Put passes before minutes, and each by their number."""
    number, _, unit = length.partition(" ")
    return unit == "minutes", float(number)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def estimate_text(estimate: Estimate) -> str:
    """Return a mean with its interval, where it has one."""
    if estimate.mean is None:
        return NOTHING
    interval = "" if estimate.low is None else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{estimate.mean:.3f}{interval}"


def _points(estimate: Estimate) -> str:
    if estimate.mean is None:
        return NOTHING
    if estimate.low is None or estimate.high is None:
        return f"{100 * estimate.mean:+.1f}"
    return f"{100 * estimate.mean:+.1f} [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"peer_table.py: {error}")
