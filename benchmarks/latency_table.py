"""The table of latencies by fused block and width that pruning chooses by, and its sum beside the whole network.

    python benchmarks/latency_table.py [--network hybrid-s] [--engine onnxruntime] [--threads 1] [--anew]
    python benchmarks/latency_table.py --image-size 128 --widths 16 32 64 128 --depth 2 --stem-stride 2

Figures are kept in the user's cache folder for the next time; `--anew` measures them again.
"""

from __future__ import annotations

import argparse

import torch
from footnote import footnote

from embedded_vit.costs.latency_table import LatencyTable, check_table, latency_table
from embedded_vit.engines import ENGINES, example_image
from embedded_vit.export.exporting import onnx_graph
from embedded_vit.labels import SYNAPSE_LABELS
from embedded_vit.models.layered_network import LayeredNetwork
from embedded_vit.models.registry import NetworkConfig, build_network, network_config
from embedded_vit.preprocessing import Preprocessing

CHECKS = 3  # of the sum, to see how far the machine's noise moves it


def main() -> None:
    """Print the table and the checks."""
    arguments = read_arguments()
    config = described(arguments)
    preprocessing = Preprocessing.for_modality(
        "CT", image_size=config.image_size, output_stride=config.output_stride, context_slices=3
    )
    torch.manual_seed(0)
    network = build_network(config).eval()
    if not isinstance(network, LayeredNetwork) or not network.fused_blocks(config.image_size):
        raise SystemExit(f"{config.name}: networks of the family '{config.family}' are not divided into fused blocks")
    blocks = network.fused_blocks(config.image_size, input_channels=preprocessing.input_channels)
    table = latency_table(blocks, arguments.engine, threads=arguments.threads, anew=arguments.anew)
    print(footnote())
    print_entries(table)
    graph, image = onnx_graph(network, preprocessing), example_image(preprocessing)
    for _ in range(CHECKS):
        print(f"{config.name}, {arguments.engine}, threads: {arguments.threads}: ", end="")
        print(check_table(table, blocks, graph, image), flush=True)


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", help="a preset; hybrid-s by default")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--widths", type=int, nargs="+")
    parser.add_argument("--depth", type=int)
    parser.add_argument("--hidden-ratio", type=int)
    parser.add_argument("--stem-stride", type=int)
    parser.add_argument("--engine", choices=ENGINES, default="onnxruntime")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--anew", action="store_true", help="measure what the cache holds again")
    return parser.parse_args()


def described(arguments: argparse.Namespace) -> NetworkConfig:
    """Return the network that the command line describes, of the hybrid family where it names no preset."""
    architecture = {
        name: getattr(arguments, name) for name in ("image_size", "widths", "depth", "hidden_ratio", "stem_stride")
    }
    preset = arguments.network or ("hybrid-s" if not any(architecture.values()) else None)
    if preset is None:
        architecture = {
            "family": "hybrid",
            "hidden_ratio": 2,
            **{k: v for k, v in architecture.items() if v is not None},
        }
    return network_config(preset, classes=SYNAPSE_LABELS.classes, **architecture)


def print_entries(table: LatencyTable) -> None:
    """Print a line for each block, in milliseconds at the speed of the machine when the table was measured."""
    print("| block | channels | ms |\n|---|---|---|")
    for block in table.relative:
        channels = "x".join(map(str, block.widths))
        print(f"| {block.kind}, {block.side} pixels | {channels} | {table.block_ms(block):.4f} |")
    print(f"\nreference graph: {table.reference_ms:.3f} ms; entries: {len(table.relative)}")


if __name__ == "__main__":
    main()
