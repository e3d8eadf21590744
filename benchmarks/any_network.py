"""What compression makes of networks that other people wrote: half of the latency, then int8; in every engine.

    python benchmarks/any_network.py [--data DIR] [--output runs/any-network] [--networks swin-unet unetr ...]
                                     [--epochs 30] [--prune-epochs 40] [--latency 0.5] [--threads 1]

Each network is trained, pruned to a fraction of its latency as measured on this machine, or as near to it as it comes,
and quantized to int8 where that is faster. Without --data the data set is a phantom. What is complete is not repeated,
and what was killed goes on. The table is printed, and written into `any-network.md` in --output. A network that cannot
be compressed, or whose library is not installed, gets a row with the reason.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from footnote import footnote
from peer_training import CLASSES

from embedded_vit.compression import CompressionPlan, compress
from embedded_vit.compression.record import COMPRESSION_FILE, CompressionRecord, StageRecord, read_compression_record
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import make_split
from embedded_vit.datasets.phantom import PhantomSettings
from embedded_vit.datasets.phantom_writer import write_phantoms
from embedded_vit.engines import compare, grainy_images, installed_engines, load
from embedded_vit.errors import EmbeddedVitError
from embedded_vit.io.atomic import write_text
from embedded_vit.training import TrainingConfig
from embedded_vit.training.training import train_once

# Name -> the class, and the options that make it large enough to have something to lose.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "unet": (CLASSES["unet"], {}),
    "segformer-b0": (CLASSES["segformer-b0"], {}),
    "unetr": ("benchmarks.peer_networks:UNETR2D", {}),
    "plain-vit": ("tests.other_networks:PlainViT", {"width": 128}),
    "swin-unet": ("tests.other_networks:SwinUNet", {"width": 64}),
    "unext": (CLASSES["unext"], {}),
    "mixed": ("tests.other_networks:Mixed", {"width": 64}),
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    name: (path, {}) for name, path in CLASSES.items() if name not in NETWORKS
}
HEADER = "| network | MACs, M | latency, ms | Dice | engines, largest difference of a logit |\n|---|---|---|---|---|"
TABLE = "any-network.md"
BATCH = 12  # a phantom has few slices, and a step more is worth more than a slice more
PHANTOMS, PHANTOM = 8, PhantomSettings(size=128, slices=24)


@dataclass(frozen=True)
class Row:
    """A network's row of the table, and what has to be said of it below."""

    text: str
    note: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a data set in any layout; a phantom by default")
    parser.add_argument("--output", type=Path, default=Path("runs/any-network"))
    parser.add_argument(
        "--networks", nargs="+", choices=[*NETWORKS, *OTHERS], default=list(NETWORKS), metavar="NAME",
        help=f"default: {', '.join(NETWORKS)}; also {', '.join(OTHERS)}",
    )  # fmt: skip
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--prune-epochs", type=int, default=40)
    parser.add_argument("--latency", type=float, default=0.5, help="the fraction that is to be left")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    sys.path.append(str(Path(__file__).resolve().parents[1]))  # where `tests` and `benchmarks` lie
    torch.set_num_threads(arguments.threads)
    if arguments.data is None:
        arguments.data = arguments.output / "phantom"
        if not arguments.data.exists():
            write_phantoms(arguments.data, cases=PHANTOMS, layout="nnunet", settings=PHANTOM)
    rows = []
    for name in arguments.networks:
        rows.append(finished_row(name, arguments))
        write_text(arguments.output / TABLE, page(rows, arguments), overwrite=True)  # after each: a killed run has some
    print(page(rows, arguments))


def page(rows: list[Row], arguments: argparse.Namespace) -> str:
    """Return the table with what was measured, and the notes."""
    title = f"pruned to {arguments.latency} of the latency, then int8; before / pruned / int8"
    notes = [f"- {row.note}" for row in rows if row.note]
    return "\n".join([footnote(), title, "", HEADER, *(row.text for row in rows), "", *notes, ""])


def finished_row(name: str, arguments: argparse.Namespace) -> Row:
    """Return a network's row; what fails is a row, too, and the other networks go on."""
    print(f"{name}: training and compressing, or reading", file=sys.stderr, flush=True)
    try:
        row = row_of(name, compressed(name, arguments), arguments.output / name)
    except (EmbeddedVitError, ImportError) as error:
        row = Row(f"| {name} | - | - | - | {str(error).splitlines()[0]} |")
    print(row.text, file=sys.stderr, flush=True)
    return row


def compressed(name: str, arguments: argparse.Namespace) -> CompressionRecord:
    """Train and compress a network, or go on where an earlier call was killed, or read what it left."""
    run, small = arguments.output / name / "run", arguments.output / name / "small"
    if not (small / COMPRESSION_FILE).is_file() or len(read_compression_record(small).stages) < 3:
        path, options = {**NETWORKS, **OTHERS}[name]
        data_set = open_data_set(arguments.data)
        asked = {
            "network": None,
            "architecture": {"model": path, "image_size": arguments.image_size, "options": options or None},
            "training": TrainingConfig.for_recipe("modern", epochs=arguments.epochs, cutmix=0.0, batch_size=BATCH),
            "context_slices": 3,
        }
        split = make_split(data_set, seed=0, validation_cases=0)
        train_once(data_set, run, split, asked, threads=arguments.threads)
        pruning = {"target_latency": arguments.latency, "nearest": True, "rounds": 2, "epochs": arguments.prune_epochs}
        pruning["importance_slices"] = 32
        steps = [{"prune_channels": pruning}, {"quantize": {"precision": "int8", "only_if_faster": True}}]
        plan = CompressionPlan.from_plain({"steps": steps}, source="benchmarks/any_network.py")
        begun = (small / "recipe.json").is_file()
        compress(run, plan, small, data_folder=arguments.data, resume=begun, threads=arguments.threads)
    return read_compression_record(small)


def row_of(name: str, record: CompressionRecord, folder: Path) -> Row:
    """Return the row of a compressed network."""
    original, pruned, quantized = record.stages
    taken = [not str(stage.facts.get("note", "")).startswith("not taken") for stage in record.stages]
    cells = (
        " / ".join(f"{stage.measured.macs / 1e6:,.0f}" for stage in (original, pruned)),
        " / ".join([latency(original), latency(pruned), latency(quantized) if taken[2] else "not faster"]),
        " / ".join([dice(original), dice(pruned), dice(quantized) if taken[2] else "-"]),
        engines(folder / "small" / pruned.artifact),
    )
    reason = str(pruned.facts.get("note", ""))
    said = "" if taken[1] and "cannot be reached" not in reason else f"{name}: {reason}"
    return Row(f"| {name} | " + " | ".join(cells) + " |", said)


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
