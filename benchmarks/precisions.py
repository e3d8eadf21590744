"""Latency of one image in float32, bfloat16 and int8, by network and engine, measured in turns.

    python benchmarks/precisions.py [--networks embedded-vit-64 embedded-vit-128 ...] [--threads 1] [--rounds 60]

Weights are random, because trained weights take the same time; int8 is calibrated on noise. Ratios are medians over the
rounds, relative to float32 in the same engine. bfloat16 is measured in OpenVINO, as ONNX Runtime has it on ARM only.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from footnote import footnote

from embedded_vit.compression.steps.integer_graph import FloatGraph
from embedded_vit.engines import GraphEngine, engine_entry, example_image, grainy_images, installed_engines, open_graph
from embedded_vit.engines.single_stream import single_stream
from embedded_vit.export.exporting import layered_graph
from embedded_vit.labels import SYNAPSE_LABELS
from embedded_vit.models.registry import NETWORKS, build_network, network_config
from embedded_vit.preprocessing import Preprocessing

CALIBRATION_IMAGES = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, metavar="NETWORK", default=list(NETWORKS)[2::-1])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    print(footnote())
    print("| network | engine | precision | MB | p50, ms | time over float32 |\n|---|---|---|---|---|---|")
    for network in arguments.networks:
        measure(network, arguments.threads, arguments.rounds)


def measure(network: str, threads: int, rounds: int) -> None:
    """Print a row for each engine and precision."""
    described = network_config(network, classes=SYNAPSE_LABELS.classes)
    preprocessing = Preprocessing.for_modality("CT", image_size=described.image_size, context_slices=3)
    torch.manual_seed(0)
    built = build_network(described).eval()
    layered = layered_graph(built, preprocessing)
    graph, prepared = layered.content, FloatGraph.of(layered)
    integers = prepared.quantised(prepared.layers, grainy_images(preprocessing)[:CALIBRATION_IMAGES])

    engines: dict[tuple[str, str], GraphEngine] = {}
    for name in installed_engines():
        entry = engine_entry(name)
        for precision, content, bf16 in (
            ("float32", graph, False),
            ("bfloat16", graph, True),
            ("int8", integers, False),
            ("int8, rest bfloat16", integers, True),
        ):
            if (entry.bf16 or not bf16) and (entry.int8 or content is graph):
                engines[entry.title, precision] = open_graph(content, name, threads=threads, bf16=bf16)
    image = example_image(preprocessing)
    queries = [lambda engine=engine: engine.run(image) for engine in engines.values()]
    latencies = single_stream(queries, rounds=rounds, seconds_limit=120).latencies_ms  # (rounds, engines)
    columns = dict(zip(engines, latencies.T, strict=True))
    for (engine, precision), column in columns.items():
        ratio = np.median(column / columns[engine, "float32"])
        megabytes = len(integers if precision.startswith("int8") else graph) / 1e6
        print(
            f"| {network} | {engine} | {precision} | {megabytes:.2f} | {np.median(column):.2f} | {ratio:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
