"""A slice from stored intensities to labels on its own grid: the published pipeline beside ours, in turns.

    python benchmarks/whole_slice.py [ARTIFACT ...] [--networks NAME ...] [--threads 2] [--rounds 30]

The published pipeline is timed from its description: scipy's cubic zoom to S x S, the naive network in PyTorch eager
mode, argmax, scipy's nearest zoom back. Ours is the scope "slice" of `embedded-vit benchmark`, in every engine that is
installed. Networks have random weights, which costs the same; an ARTIFACT, for example a compressed one, is measured
beside the published network of its input size.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from machine import describe_machine
from scipy.ndimage import zoom

from embedded_vit.artifact.export import export_checkpoint
from embedded_vit.benchmark.queries import generated_scan, make_workload
from embedded_vit.benchmark.single_stream import single_stream
from embedded_vit.datasets.data_set import Split
from embedded_vit.labels import SYNAPSE_LABELS
from embedded_vit.models.published_form import PublishedForm
from embedded_vit.models.reference_checkpoint import to_reference
from embedded_vit.models.registry import build_network, network_config
from embedded_vit.preprocessing import Intensities, Preprocessing
from embedded_vit.provenance import available_cores
from embedded_vit.runtime.engines import load_engine
from embedded_vit.runtime.graph_engines import installed_engines
from embedded_vit.training.checkpoint import Checkpoint, TrainingRecord
from embedded_vit.training.settings import RunConfig, TrainingConfig
from embedded_vit.volume import Volume

NETWORKS = ("embedded-vit-64", "embedded-vit-128", "embedded-vit-224")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", type=Path, nargs="*")
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(describe_machine())
    print("| what | published, ms a slice | ours, ms a slice | engine | times as fast |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.networks:
            checkpoint = untrained(name)
            artifact = Path(folder) / f"{name}.onnx"
            export_checkpoint(checkpoint, artifact, None)
            compare(name, artifact, checkpoint, arguments.threads, arguments.rounds)
    for artifact in arguments.artifacts:
        size = load_engine(artifact).manifest.preprocessing.image_size
        compare(str(artifact), artifact, untrained(f"embedded-vit-{size}"), arguments.threads, arguments.rounds)


def compare(what: str, artifact: Path, checkpoint: Checkpoint, threads: int, rounds: int) -> None:
    """Print a row for each engine."""
    engines = [load_engine(artifact, name, threads=threads) for name in installed_engines()]
    scan, _ = generated_scan(engines[0].manifest)
    workloads = [make_workload("slice", engine, scan) for engine in engines]
    queries = [published_pipeline(checkpoint, scan), *(workload.query for workload in workloads)]
    stream = single_stream(queries, rounds=rounds, seconds_limit=120)
    published_ms, *ours_ms = (statistics.median(column) for column in stream.latencies_ms.T)
    for place, engine in enumerate(engines):
        ratio = statistics.median(stream.latencies_ms[:, 0] / stream.latencies_ms[:, place + 1])
        print(f"| {what} | {published_ms:.1f} | {ours_ms[place]:.2f} | {engine.name} {engine.version} | {ratio:.1f} |")


def published_pipeline(checkpoint: Checkpoint, scan: Volume) -> Callable[[], np.ndarray]:
    """A function that segments the scan's middle slice; its window is applied before, as in the published data."""
    preprocessing = checkpoint.config.preprocessing
    size = preprocessing.image_size
    upright = scan.reoriented(preprocessing.orientation)
    slices, rows, columns = upright.shape
    image = Intensities.of(upright, preprocessing).normalise(upright.intensities(slices // 2))[0]
    network = PublishedForm(to_reference(checkpoint.network, stages=2))

    @torch.no_grad()
    def segment() -> np.ndarray:
        small = zoom(image, (size / rows, size / columns), order=3)
        logits = network(torch.from_numpy((small[None, None] - 0.5) / 0.5).float())
        labels = logits.softmax(dim=1).argmax(dim=1)[0].numpy()
        return zoom(labels, (rows / size, columns / size), order=0)

    return segment


def untrained(name: str) -> Checkpoint:
    """A network of the paper with random weights."""
    torch.manual_seed(0)
    network = network_config(name, classes=SYNAPSE_LABELS.classes)
    config = RunConfig(
        network=network,
        preprocessing=Preprocessing.for_modality("CT", image_size=network.image_size),
        labels=SYNAPSE_LABELS,
        training=TrainingConfig.for_recipe("modern"),
    )
    split = Split(seed=0, train=(), validation=(), test=())
    record = TrainingRecord(data_folder="", data_fingerprint="0" * 64, split=split)
    return Checkpoint(build_network(network).eval(), config, record)


if __name__ == "__main__":
    main()
