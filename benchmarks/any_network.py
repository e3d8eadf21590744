"""What compression makes of networks that other people wrote: half of the latency, then int8; in every engine.

    python benchmarks/any_network.py [--data DIR] [--output runs/any-network] [--networks swin-unet unext ...]
                                     [--epochs 30] [--prune-epochs 12] [--latency 0.5] [--threads 1]

Each network is trained, pruned to a fraction of its latency as measured on this machine, and quantized to int8 where
that is faster. Without --data the data set is a phantom. What is complete is not repeated. Networks whose library is
not installed are left out, and said to be.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from footnote import footnote
from peer_training import CLASSES

from embedded_vit.compression import CompressionPlan, compress
from embedded_vit.compression.record import COMPRESSION_FILE, CompressionRecord, StageRecord, read_compression_record
from embedded_vit.datasets.phantom_writer import write_phantoms
from embedded_vit.engines import compare, grainy_images, installed_engines, load
from embedded_vit.errors import EmbeddedVitError
from embedded_vit.training import TrainingConfig, train
from embedded_vit.training.checkpoint import MODEL

NETWORKS = CLASSES | {
    "plain-vit": "tests.other_networks:PlainViT",
    "swin-unet": "tests.other_networks:SwinUNet",
    "mixed": "tests.other_networks:Mixed",
}
HEADER = "| network | MACs, M | latency, ms | Dice | engines, largest difference of a logit |\n|---|---|---|---|---|"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a data set in any layout; a phantom by default")
    parser.add_argument("--output", type=Path, default=Path("runs/any-network"))
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NAME", help=", ".join(NETWORKS))
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--prune-epochs", type=int, default=12)
    parser.add_argument("--latency", type=float, default=0.5, help="the fraction that is to be left")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.data is None:
        arguments.data = arguments.output / "phantom"
        if not arguments.data.exists():
            write_phantoms(arguments.data, cases=12, layout="nnunet")
    print(footnote())
    print(f"pruned to {arguments.latency} of the latency, then int8; before / pruned / int8\n\n{HEADER}", flush=True)
    for name in arguments.networks:
        try:
            print(row(name, compressed(name, arguments), arguments.output / name), flush=True)
        except (EmbeddedVitError, ImportError) as error:
            print(f"| {name} | {str(error).splitlines()[0]} | | | |", flush=True)


def compressed(name: str, arguments: argparse.Namespace) -> CompressionRecord:
    """Train and compress a network, or read what an earlier call left."""
    run, small = arguments.output / name / "run", arguments.output / name / "small"
    if not (small / COMPRESSION_FILE).exists():
        architecture = {"model": NETWORKS[name], "image_size": arguments.image_size}
        settings = TrainingConfig.for_recipe("modern", epochs=arguments.epochs)
        if not (run / MODEL).exists():
            train(arguments.data, run, architecture=architecture, training=settings, context_slices=3)
        pruning = {"target_latency": arguments.latency, "rounds": 2, "epochs": arguments.prune_epochs}
        steps = [{"prune_channels": pruning}, {"quantize": {"precision": "int8", "only_if_faster": True}}]
        plan = CompressionPlan.from_plain({"steps": steps}, source="benchmarks/any_network.py")
        compress(run, plan, small, resume=small.exists(), threads=arguments.threads)
    return read_compression_record(small)


def row(name: str, record: CompressionRecord, folder: Path) -> str:
    """Return a network's row of the table."""
    stages = record.stages
    cells = (
        " / ".join(f"{stage.measured.macs / 1e6:,.0f}" for stage in stages),
        " / ".join(latency(stage) for stage in stages),
        " / ".join(dice(stage) for stage in stages),
        engines(folder / "small" / stages[1].artifact) if len(stages) > 1 else record.gate_failed or "",
    )
    return f"| {name} | " + " | ".join(cells) + " |"


def latency(stage: StageRecord) -> str:
    """Return a stage's latency on one thread, and its ratio to that of the stage before, measured in turns."""
    ratio = stage.measured.latency_ratio("1")
    return f"{stage.measured.latency_ms['1']:.1f}" + ("" if ratio is None else f" ({ratio:.2f})")


def dice(stage: StageRecord) -> str:
    """Return a stage's Dice on test cases."""
    test = stage.measured.test
    return "-" if test is None or test.dice is None else f"{test.dice:.3f}"


def engines(artifact: Path) -> str:
    """Return the engines that run the pruned network, and how far they are from ONNX Runtime; or why one does not."""
    reference, found = load(artifact), []
    images = grainy_images(reference.manifest.preprocessing)[:2]
    for name in installed_engines():
        try:
            difference = compare(reference, load(artifact, name), images).max_logit_difference
        except EmbeddedVitError as error:
            found.append(f"{name}: {str(error).splitlines()[0].removeprefix(f'{artifact}: ')}")
        else:
            found.append(f"{name} {difference:.0e}")
    return "; ".join(found)


if __name__ == "__main__":
    main()
