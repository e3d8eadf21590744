"""Latency of the built-in models against their budgets.

    python benchmarks/latency_budgets.py [MODEL ...] [--threads 2] [--rounds 60]

The budgets, in OpenVINO, in float32 or bfloat16: a Dice of 0.70 within the latency of `embedded-vit-64`; 0.80 within
that of widths 32 and 80 at 128 pixels; 0.83 within 4.5 / 2.2 of the latter. Both reference networks are measured on
this computer, in turns with the models, with random weights, because trained weights take the same time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from footnote import footnote

from embedded_vit.artifact.manifest import read_artifact
from embedded_vit.builtin.resolve import model_path
from embedded_vit.engines import example_image, open_graph
from embedded_vit.engines.single_stream import single_stream
from embedded_vit.export.exporting import onnx_graph
from embedded_vit.labels import SYNAPSE_LABELS
from embedded_vit.models.registry import build_network, network_config
from embedded_vit.preprocessing import Preprocessing

# Input size -> the input size of the reference network, and the factor of its latency.
BUDGETS = {64: (64, 1.0), 112: (64, 1.0), 128: (128, 1.0), 192: (128, 4.5 / 2.2)}
BUILT_IN = ("abdomen-ct-fast", "abdomen-ct", "abdomen-ct-large")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=model_path, nargs="*", metavar="MODEL", default=[*map(model_path, BUILT_IN)])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    print(footnote())
    print("| model | float32, ms | of the budget | bfloat16, ms | of the budget |\n|---|---|---|---|---|")
    for model in arguments.models:
        print(row(model, arguments.threads, arguments.rounds), flush=True)


def row(model: Path, threads: int, rounds: int) -> str:
    """Measure a model: its medians in both precisions, and the median over the rounds of the ratio to the budget."""
    content, manifest = read_artifact(model)
    if manifest.preprocessing.image_size not in BUDGETS:
        return f"| {model} | no budget at {manifest.preprocessing.image_size} pixels | | | |"
    size, factor = BUDGETS[manifest.preprocessing.image_size]
    yardstick = yardstick_graph(size)
    cells = []
    for bf16 in (False, True):
        engines = [open_graph(graph, "openvino", threads=threads, bf16=bf16) for graph in (content, yardstick)]
        images = [example_image(manifest.preprocessing), example_image(preprocessing(size))]
        queries = [lambda e=engine, i=image: e.run(i) for engine, image in zip(engines, images, strict=True)]
        latencies = single_stream(queries, rounds=rounds, seconds_limit=60).latencies_ms  # (rounds, 2)
        ratio = np.median(latencies[:, 0] / latencies[:, 1]) / factor
        cells += [f"{np.median(latencies[:, 0]):.2f}", f"{ratio:.2f}"]
    return f"| {model} | {' | '.join(cells)} |"


def preprocessing(size: int) -> Preprocessing:
    """Return the preprocessing of a CT at this input size, with three slices at once."""
    return Preprocessing.for_modality("CT", image_size=size, context_slices=3)


def yardstick_graph(size: int) -> bytes:
    """Export the published network of 64 pixels at this input size."""
    torch.manual_seed(0)
    described = network_config("embedded-vit-64", classes=SYNAPSE_LABELS.classes)
    return onnx_graph(build_network(described).eval(), preprocessing(size))


if __name__ == "__main__":
    main()
