"""Writes paper/table.md: the paper's networks trained, scored and measured on your data.

    python paper/table.py --data DATA [--runs runs/paper] [--epochs 400] [--networks NAME ...] [RUN ...]

Networks are trained by the paper's recipe into RUNS/NAME. An interrupted training is resumed, and a network that was
measured before is not measured again. RUN adds run folders, for example pruned ones of `embedded-vit compress`.
Scores follow the published protocol (`transunet`), on the test cases of the data set, from the exported files.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from embedded_vit.about import RESEARCH_USE_ONLY
from embedded_vit.compression.measure import measure_artifact
from embedded_vit.compression.record import COMPRESSION_FILE, Measurements
from embedded_vit.costs.complexity import complexity
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.identity import data_content
from embedded_vit.errors import EmbeddedVitError, FileFormatError
from embedded_vit.export.exporting import export
from embedded_vit.io.atomic import write_text
from embedded_vit.io.digest import sha256_of
from embedded_vit.io.json_file import read_json_object
from embedded_vit.models.registry import NETWORKS
from embedded_vit.provenance import describe_machine
from embedded_vit.report.compared_points import read_compared_points
from embedded_vit.training.checkpoint import MODEL, STATE, load_checkpoint, read_record, read_run_config
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.training import train

HEADER = (
    "variant", "recipe", "epochs", "Dice in the paper", "Dice", "HD95 (voxels)", "parameters (published)",
    "MACs (published)", "file", "p50, 1 thread", "p50, 2 threads",
)  # fmt: skip
POINTS = Path(__file__).with_name("points.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("more_runs", type=Path, nargs="*", metavar="RUN")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/paper"), help="folder of the trainings")
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--epochs", type=int, default=400, help="the paper's; a network of 224 pixels needs a GPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("table.md"))
    arguments = parser.parse_args()
    runs = [arguments.runs / name for name in arguments.networks]
    for run in runs:
        train_once(run, arguments.data, arguments.epochs, arguments.device, arguments.threads)
    runs += arguments.more_runs
    rows = [row(run, measured_once(run, arguments.data, arguments.runs / "measured")) for run in runs]
    data = open_data_set(arguments.data)
    lines = [
        f"# The paper's table on {data.name}",
        "",
        f"**{RESEARCH_USE_ONLY}**",
        "",
        "Protocol `transunet`, test cases of this data set, from the exported files; the paper's Dice is on its own 12",
        "test patients. Parameters and MACs are those that run; those of the published form are in brackets.",
        f"{describe_machine()}.",
        "",
        f"| {' | '.join(HEADER)} |",
        "|" + "---|" * len(HEADER),
        *(f"| {' | '.join(cells)} |" for cells in rows),
        "",
    ]
    write_text(arguments.output, "\n".join(lines), overwrite=True)
    print(arguments.output.read_text(encoding="utf-8"))


def train_once(run: Path, data: Path, epochs: int, device: str, threads: int | None) -> None:
    """Train a network by the paper's recipe, or resume its training."""
    begun = (run / STATE).is_file()
    if begun:
        record = read_record(run)
        names = record.split.train + record.split.validation
        if len(record.epochs) == epochs and record.files_sha256 in ("", data_content(open_data_set(data), names)):
            return
    training = TrainingConfig.for_recipe("paper", epochs=epochs)
    train(
        data, run, network=run.name, training=training, validation_cases=0, resume=begun, device=device, threads=threads
    )


def measured_once(run: Path, data: Path, folder: Path) -> Measurements:
    """Measure the exported file of a run, or read what was measured before, of the same weights on the same data."""
    checkpoint = load_checkpoint(run)
    work = folder / f"{run.name}-{sha256_of(run / MODEL)[:8]}-on-{data.resolve().name}"
    if (work / "measured.json").is_file():
        path = work / "measured.json"
        measured = Measurements.parse(read_json_object(path, FileFormatError), source=str(path))
        if measured.test is None or measured.test.are_of(data):
            return measured
    artifact = run / "model.onnx" if (run / COMPRESSION_FILE).is_file() else work / "model.onnx"
    if artifact.parent == work:
        export(run, artifact, data_folder=data, overwrite=True)
    measured = measure_artifact(
        artifact, None, checkpoint.network, checkpoint.config, data, work, subsets=["test"], protocol="transunet"
    )
    write_text(work / "measured.json", measured.model_dump_json(indent=1), overwrite=True)
    return measured


def paper_dice() -> dict[str, str]:
    """Return the Dice that the paper reports, by our name of the network."""
    points = read_compared_points(POINTS)
    return {point.name.replace("paper ", "embedded-vit-"): f"{point.dice:.3f}" for point in points if point.dice}


def row(run: Path, measured: Measurements) -> tuple[str, ...]:
    """Return the cells of a run, in the order of `HEADER`."""
    config, record = read_run_config(run), read_record(run)
    costs = complexity(config.network, input_channels=config.preprocessing.input_channels)
    published = "none" if costs.published_parameters is None else f"{costs.published_parameters / 1e6:.2f} M"
    naive = "none" if costs.naive_macs is None else f"{costs.naive_macs / 1e9:.3f} G"
    test = measured.test
    sparsity = 1 - measured.nonzero_parameters / measured.parameters
    return (
        config.network.name + (f", {sparsity:.0%} of the weights zero" if sparsity >= 0.01 else ""),
        config.training.recipe,
        str(len(record.epochs)),
        paper_dice().get(run.name, "–"),
        "–" if test is None or test.dice is None else f"{test.dice:.3f}",
        "–" if test is None or test.hd95 is None else f"{test.hd95:.1f}",
        f"{measured.nonzero_parameters / 1e6:.2f} M ({published})",
        f"{costs.macs / 1e9:.3f} G ({naive})",
        f"{measured.file_bytes / 1e6:.1f} MB ({measured.deflated_bytes / 1e6:.1f} MB zipped)",
        f"{measured.latency_ms['1']:.1f} ms",
        f"{measured.latency_ms['2']:.1f} ms",
    )


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"table.py: {error}")
