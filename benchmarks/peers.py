"""Train networks of others beside ours, export them and measure them alike.

    python benchmarks/peers.py --data DATA --output FOLDER [--minutes 8 | --epochs E] [--networks NAME[@S] ...]
    python benchmarks/peers.py --data DATA --output FOLDER --folds 5 --seeds 0 1 --epochs 120 --minutes 30
    python benchmarks/peers.py --latency-only --networks unet-8@64 unet-16@64

NAME is a preset (conv-s, embedded-vit-64, dae-former-224, ...), widths such as 32-80, package.module:Class, or a peer:
unet-8, -12, -16, -24, -32, unext, unext-s, cmunext, cmunext-s, emcad-b0, and with the extra `peers` unet and
segformer-b0. S is the image size; presets have their own. What differs stands behind commas:
hybrid-s,coarsest=convolutions@128 has convolutions in place of its token blocks, unet-32,latency=0.4@64 is pruned to
0.4 of its latency after its training (cells only). docs/peers.md explains recipes, and how minutes are counted. A
complete training is not repeated, and one that was killed is resumed; latency is measured each time, all files in
turns.

The first form trains on one split, by our recipe, `modern`, and by `theirs`. FOLDER gets a run folder for every
training, and peers.html, peers.md and peers.json.

--folds, --test-last or --seeds, or both --epochs and --minutes, train cells: one network, split, seed and length each.
FOLDER gets a run folder for every cell, costs.json, and tables and a plot of all finished cells: peers.md, peers.png.
Dice is paired by patient, latency is given in units of that of unet-16@64.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from peer_cells import finish_cell, named_splits, read_cells, with_patients
from peer_compressed import finish_pruned_cell
from peer_latency import COSTS, YARDSTICK, MeasuredGraph, measure_costs, trained_graphs, untrained_graph
from peer_results import Result, measure_latency, measure_once, write_results
from peer_table import cost_table, read_study, write_tables
from peer_training import CLASSES, Comparison, PeerTraining, planned, train_once, trainings_of

from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import DataSet, Split, make_split
from embedded_vit.errors import ConfigError, EmbeddedVitError
from embedded_vit.io.atomic import write_text
from embedded_vit.labels import SYNAPSE_LABELS
from embedded_vit.models.registry import build_network
from embedded_vit.training.processes import keep_freed_memory

OLDER = ("embedded-vit-64", "embedded-vit-128", "embedded-vit-s", "embedded-vit-m")
OURS = ("conv-xs", "conv-s", "conv-m", "hybrid-s", *OLDER)
SLIM_UNETS = ("unet-8", "unet-12", "unet-16", "unet-24", "unet-32")
OTHERS = ("unet@64", "unet@128", "segformer-b0@64", "segformer-b0@128", "dae-former-224@64", "dae-former-224@128")
EVERY_PEER = tuple(f"{name}@{size}" for size in (64, 128) for name in (*SLIM_UNETS, *CLASSES))
MINUTES = 8.0


def main(words: Sequence[str] | None = None) -> None:
    sys.path.append(str(Path(__file__).resolve().parents[1]))  # where `benchmarks.peer_networks` lies
    arguments = parse(words)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    peers = [one for text in arguments.networks for one in trainings_of(text, arguments.recipes)]
    if not arguments.cells and any(peer.latency_left is not None for peer in peers):
        raise ConfigError("networks that are pruned are cells: give --folds, --test-last or --seeds too")
    if arguments.latency_only:
        print_costs(peers, arguments)
    elif arguments.cells:
        train_cells(peers, arguments)
    else:
        compare_once(peers, arguments)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; `cells` says whether it asks for cells.

    Raises:
        ConfigError: Options do not fit together.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the data set; --latency-only takes three channels and nine classes")
    parser.add_argument("--output", type=Path, help="needed for trainings")
    parser.add_argument(
        "--minutes",
        type=float,
        help=f"minutes of training for each network and recipe; {MINUTES:g} if no length is given",
    )
    parser.add_argument("--epochs", type=int, help="passes over the training slices")
    parser.add_argument(
        "--networks", nargs="+", metavar="NAME[@S]", help="default: ours and the peers, 64 and 128 pixels"
    )
    parser.add_argument(
        "--recipes", nargs="+", choices=["modern", "theirs"], help="default: both, and modern for cells"
    )
    parser.add_argument("--context-slices", type=int, choices=[1, 3], default=3)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="precision of all trainings")
    parser.add_argument("--threads", type=int, help="threads for training and scoring; by default PyTorch's choice")
    parser.add_argument("--repeats", type=int, default=50, help="rounds of each latency")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings on one split, and of that split")
    split = parser.add_mutually_exclusive_group()
    split.add_argument("--folds", type=int, metavar="N", help="cells: a cross-validation by patient")
    split.add_argument("--test-last", type=int, metavar="N", help="cells: test the last N patients in sorted order")
    parser.add_argument("--fold", type=int, nargs="+", metavar="K", help="of the folds, from 0; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", help="cells: of the trainings; 0 by default")
    parser.add_argument(
        "--patient-pattern", metavar="REGEX", help="what in a case's name is the patient: its first group"
    )
    parser.add_argument("--cells-only", action="store_true", help="finish the cells; no latency, no tables")
    parser.add_argument("--latency-only", action="store_true", help="measure untrained networks; train nothing")
    arguments = parser.parse_args(words)
    of_cells = (arguments.folds, arguments.test_last, arguments.seeds, arguments.minutes and arguments.epochs)
    arguments.cells = any(given is not None and given != 0 for given in of_cells)
    refuse_what_does_not_fit(arguments)
    if arguments.minutes is None and not arguments.epochs:
        arguments.minutes = MINUTES
    if arguments.networks is None:
        arguments.networks = [*OURS, *(EVERY_PEER if arguments.cells or arguments.latency_only else OTHERS)]
    if arguments.recipes is None:
        arguments.recipes = ["modern"] if arguments.cells or arguments.latency_only else ["modern", "theirs"]
    return arguments


def refuse_what_does_not_fit(arguments: argparse.Namespace) -> None:
    """Refuse options that contradict each other.

    Raises:
        ConfigError: It names them.
    """
    if (arguments.minutes is not None and arguments.minutes <= 0) or (arguments.epochs or 0) < 0:
        raise ConfigError(f"--minutes {arguments.minutes} --epochs {arguments.epochs}: expected numbers above 0")
    if arguments.fold is not None and arguments.folds is None:
        raise ConfigError("--fold without --folds: say how many folds there are, for example --folds 5 --fold 0")
    if not arguments.latency_only and (arguments.data is None or arguments.output is None):
        raise ConfigError("trainings need --data and --output; --latency-only needs neither")
    for name in ("cells_only", "patient_pattern"):
        if getattr(arguments, name) and not arguments.cells:
            raise ConfigError(f"--{name.replace('_', '-')} is for cells: give --folds, --test-last or --seeds too")


def comparison_of(
    arguments: argparse.Namespace, data_set: DataSet, split: Split, *, minutes: float | None, seed: int, label: str = ""
) -> Comparison:
    """Return what trainings of one split, length and seed share."""
    return Comparison(
        data_set=data_set,
        split=split,
        output=arguments.output,
        minutes=minutes,
        epochs=arguments.epochs or 0,
        context_slices=arguments.context_slices,
        precision=arguments.precision,
        seed=seed,
        label=label,
    )


def train_cells(peers: Sequence[PeerTraining], arguments: argparse.Namespace) -> None:
    """Finish all cells that are asked for, measure latency, and write tables and plot of all that are finished.

    Raises:
        ConfigError: No cell could be finished, or a network cannot be built.
    """
    data_set = with_patients(open_data_set(arguments.data), arguments.patient_pattern)
    splits = named_splits(data_set, folds=arguments.folds, chosen=arguments.fold, test_last=arguments.test_last)
    lengths: dict[str, float | None] = {}
    if arguments.epochs:
        lengths[f"{arguments.epochs} pass{'es' * (arguments.epochs > 1)}"] = None
    if arguments.minutes:
        lengths[f"{arguments.minutes:g} minutes"] = arguments.minutes
    cells = [
        (peer, split, length, seed)
        for seed in arguments.seeds or [0]
        for split in splits
        for length in lengths
        for peer in peers
    ]
    failures = []
    for number, (peer, split, length, seed) in enumerate(cells, 1):
        label = f"-{length.replace(' ', '')}-{split}-seed{seed}"
        shared = {"minutes": lengths[length], "seed": seed, "label": label}
        comparison = comparison_of(arguments, data_set, splits[split], **shared)
        print(f"cell {number} of {len(cells)}: {peer.name}{label}", file=sys.stderr, flush=True)
        try:
            build_network(planned(peer, comparison).network)
            threads = arguments.threads or torch.get_num_threads()
            finish = finish_cell if peer.latency_left is None else finish_pruned_cell
            finish(peer, comparison, split_name=split, length=length, threads=threads)
        except EmbeddedVitError as error:  # the others go on
            failures.append(f"{peer.name}{label} failed: {error}")
            print(failures[-1], file=sys.stderr, flush=True)
    if len(failures) == len(cells):
        raise ConfigError("every cell failed; see above")
    if not arguments.cells_only:
        write_costs_and_tables(data_set, arguments)
    if failures:
        raise ConfigError(f"{len(failures)} of {len(cells)} cells failed; see above")


def write_costs_and_tables(data_set: DataSet, arguments: argparse.Namespace) -> None:
    """Measure the networks of all finished cells in turns, and write what peer_table.py would."""
    graphs = trained_graphs(read_cells(arguments.output))
    if YARDSTICK not in graphs:
        graphs[YARDSTICK] = untrained(YARDSTICK, data_set, arguments)
    costs = measure_costs(graphs, rounds=arguments.repeats)
    write_text(arguments.output / COSTS, costs.model_dump_json(indent=1), overwrite=True)
    print(write_tables([read_study(arguments.output)], arguments.output))


def untrained(network: str, data_set: DataSet | None, arguments: argparse.Namespace) -> MeasuredGraph:
    """Export a network with random weights, for the channels and classes of a data set or of the abdominal CT."""
    [peer] = trainings_of(network, ["modern"])
    return untrained_graph(
        peer,
        channels=("CT",) if data_set is None else data_set.channels,
        classes=SYNAPSE_LABELS.classes if data_set is None else data_set.labels.classes,
        context_slices=arguments.context_slices,
    )


def print_costs(peers: Sequence[PeerTraining], arguments: argparse.Namespace) -> None:
    """Measure untrained networks in turns and print what they cost; nothing is trained."""
    data_set = None if arguments.data is None else open_data_set(arguments.data)
    names = dict.fromkeys([*(peer.network_at_size for peer in peers), YARDSTICK])
    graphs, failures = {}, []
    for name in names:
        print(f"{name}: exporting", file=sys.stderr, flush=True)
        try:
            graphs[name] = untrained(name, data_set, arguments)
        except EmbeddedVitError as error:  # the others go on; the table names the failure
            failures.append(f"{name} failed: {error}")
    costs = measure_costs(graphs, rounds=arguments.repeats)
    if arguments.output is not None:
        write_text(arguments.output / COSTS, costs.model_dump_json(indent=1), overwrite=True)
    print("\n".join([*cost_table(costs), "", f"{costs.machine}; random weights", *failures, *costs.doubts]))


def compare_once(peers: Sequence[PeerTraining], arguments: argparse.Namespace) -> None:
    """Train on one split by every recipe, and write the page.

    Raises:
        ConfigError: Every network failed, or one cannot be built.
    """
    data_set = open_data_set(arguments.data)
    split = make_split(data_set, seed=arguments.seed, validation_cases=0)
    minutes = None if arguments.epochs else arguments.minutes
    comparison = comparison_of(arguments, data_set, split, minutes=minutes, seed=arguments.seed)
    for peer in peers:
        build_network(planned(peer, comparison).network)  # refuses what cannot be built before any training
    results, failures = [], []
    for peer in peers:
        print(f"{peer.name}: training and measuring, or reading", file=sys.stderr, flush=True)
        try:
            run, schedule = train_once(peer, comparison)
            measured = measure_once(run, arguments.data, threads=arguments.threads or torch.get_num_threads())
            results.append(Result(run, schedule.passes, measured))
        except EmbeddedVitError as error:  # the others go on; the page names the failure
            failures.append(f"{peer.name} failed: {error}")
            print(failures[-1], file=sys.stderr, flush=True)
    if not results:
        raise ConfigError("every network failed; see above")
    results, notes = measure_latency(results, repeats=arguments.repeats)
    write_results(results, [*failures, *notes], comparison.output, data_set, comparison.split)


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"peers.py: {error}")
