"""Latency of a slice from stored intensities to labels on its own grid: the published pipeline beside ours, in turns.

    OPENBLAS_NUM_THREADS=1 python benchmarks/whole_slice.py [MODEL ...] [--threads 2] [--streams 2] [--rounds 30]

The published pipeline is rebuilt from its description: scipy's cubic zoom to S x S, the naive network of the model's
input size (or of the next larger one that was published) in PyTorch eager mode, argmax, scipy's nearest zoom back. Its
weights are random, because trained weights take the same time. Our pipeline segments a scan as `embedded-vit predict`
does, one slice on each thread or `--streams` slices at a time, in every installed engine; its time is divided by the
number of slices. Use trained models, because enlarging takes longer where classes mix. Without MODEL the built-in
models are taken.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from footnote import footnote
from scipy.ndimage import zoom

from embedded_vit.benchmark.queries import generated_scan, make_workload
from embedded_vit.builtin.index import builtin_paths
from embedded_vit.builtin.resolve import model_path
from embedded_vit.engines import installed_engines, load
from embedded_vit.engines.single_stream import single_stream
from embedded_vit.errors import FileFormatError
from embedded_vit.labels import SYNAPSE_LABELS
from embedded_vit.models.published_form import PublishedForm
from embedded_vit.models.reference_checkpoint import to_reference
from embedded_vit.models.registry import build_network, network_config
from embedded_vit.preprocessing import Intensities, Preprocessing
from embedded_vit.provenance import available_cores
from embedded_vit.volume import Volume

PUBLISHED_SIZES = (64, 128, 224)
PUBLISHED_SLICES = 4  # in one query of the published pipeline
REST_SECONDS = 0.02  # until PyTorch's threads sleep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=model_path, nargs="*", metavar="MODEL", default=builtin_paths())
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--streams", type=int, help="slices at a time; by default one on each thread")
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(footnote())
    print("| model | published, ms per slice | ours, ms per slice | engine | speed-up |")
    print("|---|---|---|---|---|")
    for model in arguments.models:
        compare(model, arguments.threads, arguments.streams or arguments.threads, arguments.rounds)


def compare(model: Path, threads: int, streams: int, rounds: int) -> None:
    """Print a row for each engine, with the reason where an engine is refused."""
    engines = []
    for name in installed_engines():
        try:
            engines.append(load(model, name, threads=threads, streams=streams))
        except FileFormatError as error:
            print(f"| {model} | | | {name} | refused: {error} |")
    preprocessing = engines[0].manifest.preprocessing
    scan = generated_scan(engines[0].manifest)[0].reoriented(preprocessing.orientation)
    slices, _, _ = scan.shape
    workloads = [make_workload("volume", engine, scan) for engine in engines]
    queries = [published_pipeline(preprocessing, scan), *(workload.query for workload in workloads)]
    timed = single_stream(queries, rounds=rounds, seconds_limit=120, rest_seconds=REST_SECONDS)
    latencies_ms = timed.latencies_ms / [PUBLISHED_SLICES, *[slices] * len(engines)]  # a slice
    published_ms, *ours_ms = (statistics.median(column) for column in latencies_ms.T)
    for place, engine in enumerate(engines):
        ratio = statistics.median(latencies_ms[:, 0] / latencies_ms[:, place + 1])
        version = engine.version.split("-")[0]
        print(f"| {model} | {published_ms:.1f} | {ours_ms[place]:.2f} | {engine.name} {version} | {ratio:.1f} |")


def published_pipeline(preprocessing: Preprocessing, upright: Volume) -> Callable[[], None]:
    """Return a function that segments slices one by one; they are windowed before, as the published data are."""
    size = min(size for size in PUBLISHED_SIZES if size >= preprocessing.image_size)
    _, rows, columns = upright.shape
    intensities = Intensities.of(upright, preprocessing)
    images = [intensities.normalise(upright.intensities(index))[0] for index in range(PUBLISHED_SLICES)]
    torch.manual_seed(0)
    described = network_config(f"embedded-vit-{size}", classes=SYNAPSE_LABELS.classes)
    network = PublishedForm(to_reference(build_network(described), stages=2))

    @torch.no_grad()
    def segment() -> None:
        for image in images:
            small = zoom(image, (size / rows, size / columns), order=3)
            logits = network(torch.from_numpy((small[None, None] - 0.5) / 0.5).float())
            labels = logits.softmax(dim=1).argmax(dim=1)[0].numpy()
            zoom(labels, (rows / size, columns / size), order=0)

    return segment


if __name__ == "__main__":
    main()
