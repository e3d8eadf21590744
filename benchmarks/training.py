"""Measure the training throughput of the real loop beside the naive form of the same network.

python benchmarks/training.py --sizes 64 128 --rounds 5

Each configuration has a process of its own, because the allocator's settings hold for a whole process. It computes only
while the others wait: in a round, each of them in turn trains an epoch of `--steps` batches. One configuration has a
process for every thread, as `torchrun` starts them, and these share its batches. The naive form is the published form
that tests compare with, trained by the same loop, once with glibc's default allocator, once with the loop's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
from dataclasses import dataclass
from itertools import chain
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import torch
from footnote import footnote
from torch import Tensor, nn
from torch.distributed.elastic.utils.distributed import get_free_port

from embedded_vit.datasets.data_set import Split
from embedded_vit.labels import SYNAPSE_LABELS
from embedded_vit.models.embedded_vit import EmbeddedViT
from embedded_vit.models.published_form import PublishedForm
from embedded_vit.models.reference_checkpoint import to_reference
from embedded_vit.models.registry import build_network, network_config
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.provenance import available_cores
from embedded_vit.training.loop import Trainer
from embedded_vit.training.processes import Processes, joined_processes, keep_freed_memory
from embedded_vit.training.run import open_run
from embedded_vit.training.settings import Precision, RunConfig, TrainingConfig
from embedded_vit.training.slices import SliceSet

CASE = "synthetic"
EPOCHS = 1000  # more than the benchmark trains
STOP = 0


class NaiveModule(nn.Module):
    """The naive form of a network as a module, which the loop trains like any network."""

    def __init__(self, network: EmbeddedViT) -> None:
        super().__init__()
        tensors = to_reference(network, stages=2)
        self.names = list(tensors)
        self.tensors = nn.ParameterList([nn.Parameter(tensor.detach().clone()) for tensor in tensors.values()])

    def forward(self, image: Tensor) -> Tensor:
        """Segment images: (B, 1 or 3, S, S) -> logits (B, K, S, S)."""
        return PublishedForm(dict(zip(self.names, self.tensors, strict=True)))(image)


@dataclass(frozen=True)
class Variant:
    """A way to train that is measured."""

    naive: bool
    precision: Precision
    own_allocator: bool = True
    processes: int = 1

    def __str__(self) -> str:
        form = "naive" if self.naive else "embedded-vit"
        processes = f", {self.processes} processes" if self.processes > 1 else ""
        return f"{form} {self.precision}{processes}" + ("" if self.own_allocator else ", default allocator")


@dataclass(frozen=True)
class Workload:
    """The work of every variant in a round."""

    image_size: int
    batch_size: int
    steps: int
    threads: int


def synthetic_slices(workload: Workload) -> SliceSet:
    """Make the slices of an epoch of `steps` batches, with labels in blocks of 8 x 8 pixels."""
    random = np.random.default_rng(0)
    count, size = workload.batch_size * workload.steps, workload.image_size
    blocks = random.integers(0, SYNAPSE_LABELS.classes, (count, size // 8, size // 8), dtype=np.uint8)
    labels = blocks.repeat(8, axis=1).repeat(8, axis=2)  # (slices, S, S)
    images = random.uniform(-1, 1, (count, 1, size, size)).astype(np.float16)
    return SliceSet(images, labels, (CASE,), np.zeros(count, np.int64), "synthetic")


def make_trainer(variant: Variant, workload: Workload, folder: Path, processes: Processes) -> Trainer:
    """Set up the loop as `embedded-vit train` does, on synthetic slices."""
    torch.manual_seed(0)
    described = network_config(f"embedded-vit-{workload.image_size}", classes=SYNAPSE_LABELS.classes)
    network = build_network(described)
    if variant.naive:
        assert isinstance(network, EmbeddedViT)
        network = NaiveModule(network)
    config = RunConfig(
        network=described,
        preprocessing=Preprocessing.for_modality("CT", image_size=workload.image_size),
        labels=SYNAPSE_LABELS,
        training=TrainingConfig.for_recipe(
            "modern", epochs=EPOCHS, batch_size=workload.batch_size, precision=variant.precision
        ),
    )
    split = Split(seed=0, train=(CASE,), validation=(), test=())
    slices = synthetic_slices(workload)
    trainer = open_run(folder, config, slices, split, data_folder=folder, network=network, processes=processes)
    trainer.stepper.begin(steps=EPOCHS * trainer.order.steps, first_step=0)
    return trainer


def compete(connection: Connection, variant: Variant, workload: Workload, environment: dict[str, str]) -> None:
    """Train an epoch for each number received; send images per second and the fraction of time spent loading."""
    os.environ.update(environment)
    torch.set_num_threads(workload.threads // variant.processes)
    if variant.own_allocator:
        keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder, joined_processes("cpu") as processes:
        trainer = make_trainer(variant, workload, Path(folder), processes)
        while (epoch := connection.recv()) != STOP:
            row = trainer._train_epoch(epoch)  # `run` would also write files and draw previews
            connection.send((row.images_per_second, row.loading_fraction))


def race(variants: list[Variant], workload: Workload, rounds: int) -> dict[Variant, list[tuple[float, float]]]:
    """Run rounds of all variants in turn, after a warm-up round that does not count."""
    started = {variant: start(variant, workload) for variant in variants}
    results: dict[Variant, list[tuple[float, float]]] = {variant: [] for variant in variants}
    for epoch in range(1, rounds + 2):
        for variant, members in started.items():
            for _, connection in members:
                connection.send(epoch)
            answers = [connection.recv() for _, connection in members]
            results[variant].append(min(answers))  # the slowest process
    members = list(chain(*started.values()))
    for _, connection in members:
        connection.send(STOP)
    for process, _ in members:
        process.join()
    return {variant: values[1:] for variant, values in results.items()}


def start(variant: Variant, workload: Workload) -> list[tuple[SpawnProcess, Connection]]:
    """Start a variant's processes with the environment of torchrun; return them with a connection to each."""
    context = multiprocessing.get_context("spawn")
    joined = {"WORLD_SIZE": str(variant.processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(get_free_port())}
    members = []
    for rank in range(variant.processes):
        ours, theirs = context.Pipe()
        environment = joined | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        process = context.Process(target=compete, args=(theirs, variant, workload, environment), daemon=True)
        process.start()
        theirs.close()  # else waiting for a process that died would not end
        members.append((process, ours))
    return members


def print_race(results: dict[Variant, list[tuple[float, float]]], workload: Workload) -> None:
    """Print a line for each variant: median throughput, fraction of loading, speed-up over the naive form."""
    speeds = {variant: [speed for speed, _ in values] for variant, values in results.items()}
    medians = {variant: statistics.median(values) for variant, values in speeds.items()}
    naive = {variant.own_allocator: median for variant, median in medians.items() if variant.naive}
    print(
        f"embedded-vit-{workload.image_size}, batch {workload.batch_size}, {workload.threads} threads, "
        f"{workload.steps} steps per round:"
    )
    for variant, median in medians.items():
        loading = statistics.median(fraction for _, fraction in results[variant])
        ratios = f"{median / naive[False]:5.2f} x naive default, {median / naive[True]:5.2f} x naive"
        rounds = ", ".join(f"{value:.1f}" for value in speeds[variant])
        print(
            f"  {variant!s:<33} {median:7.1f} images/s  {1000 / median:6.1f} ms/image  "
            f"loading {loading:5.1%}  {ratios}  ({rounds})"
        )


def main() -> None:
    """Measure all variants and print the throughput."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", choices=[64, 128, 224], default=[64, 128], help="pixels")
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], help="of ours; by default all that pay")
    parser.add_argument("--threads", type=int, nargs="+", default=[available_cores()], help="CPU threads, one or more")
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--steps", type=int, default=8, help="batches a round; four times as many at 64 pixels")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    has_bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    precisions = arguments.precisions or (["fp32", "bf16"] if has_bf16 else ["fp32"])
    print(footnote())
    if os.getloadavg()[0] > 0.5:
        print("this machine is busy: figures are too low, and with several threads not usable")
    if not has_bf16:
        print("this processor has no bf16 instructions; with --precisions bf16 they are emulated")
    for image_size in arguments.sizes:
        for threads in arguments.threads:
            variants = [
                Variant(naive=False, precision=precision, processes=processes)
                for precision in precisions
                for processes in sorted({1, threads})
                if arguments.batch_size % processes == 0
            ]
            variants += [Variant(naive=True, precision="fp32", own_allocator=own) for own in (True, False)]
            steps = arguments.steps * max(1, 128 // image_size) ** 2  # rounds that last about as long
            workload = Workload(image_size, arguments.batch_size, steps, threads)
            print_race(race(variants, workload, arguments.rounds), workload)
    print(f"median of {arguments.rounds} rounds; load average now {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
