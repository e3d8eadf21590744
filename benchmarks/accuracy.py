"""Export trained runs and score them on the test cases of a data set: a table of docs/results.md.

    python benchmarks/accuracy.py --data DATA RUN [RUN ...] [--output FOLDER]

Every row is measured from the exported file, not from the checkpoint. Minutes are the time of the training on its own
machine. Milliseconds are the median over the cases, from stored intensities to labels on the scan's grid.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from footnote import footnote

from embedded_vit.costs.complexity import complexity
from embedded_vit.datasets import open_data_set
from embedded_vit.evaluation.evaluating import evaluate
from embedded_vit.evaluation.results import Evaluation
from embedded_vit.export.exporting import export
from embedded_vit.training.checkpoint import load_checkpoint

HEADER = (
    "network", "recipe", "slices", "epochs", "minutes", "Dice", "HD95", "NSD", "worst organ",
    "parameters", "MACs", "file", "ms per slice",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, help="keep artifacts and reports here")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    print(footnote())
    print(f"| {' | '.join(HEADER)} |")
    print("|" + "---|" * len(HEADER))
    with tempfile.TemporaryDirectory() as temporary:
        for run in arguments.runs:
            folder = (arguments.output or Path(temporary)) / run.name
            print(f"| {' | '.join(row(run, arguments.data, folder, arguments.threads))} |", flush=True)


def row(run: Path, data: Path, folder: Path, threads: int | None) -> tuple[str, ...]:
    """Export, score and describe one run."""
    checkpoint = load_checkpoint(run)
    artifact = folder / "model.onnx"
    size_bytes = export(run, artifact, data_folder=data).size_bytes
    evaluation = evaluate(artifact, data, output=folder / "evaluation", threads=threads)
    config, epochs = checkpoint.config, checkpoint.record.epochs
    costs = complexity(config.network, input_channels=config.preprocessing.input_channels)
    means = {metric: summary.overall.mean for metric, summary in evaluation.summaries.items()}
    organs = dict(zip(evaluation.labels.names, evaluation.summaries["dice"].organs, strict=True))
    worst = min(organs, key=lambda name: organs[name].mean or 0.0)
    return (
        config.network.name,
        config.training.recipe,
        str(config.preprocessing.context_slices),
        str(len(epochs)),
        f"{sum(epoch.seconds for epoch in epochs) / 60:.0f}",
        f"{means['dice']:.3f}",
        f"{means['hd95']:.1f} {evaluation.unit}",
        f"{means['nsd']:.3f}",
        f"{worst} {organs[worst].mean:.2f}",
        f"{costs.parameters / 1e6:.2f} M",
        f"{costs.macs / 1e6:.0f} M",
        f"{size_bytes / 1e6:.1f} MB",
        f"{milliseconds_a_slice(evaluation, data):.1f}",
    )


def milliseconds_a_slice(evaluation: Evaluation, data: Path) -> float:
    """Return the median over the cases of the time per slice, in milliseconds."""
    data_set = open_data_set(data)
    slices = {
        case.name: data_set.read_labels(data_set.case(case.name)).reoriented().array.shape[0]
        for case in evaluation.cases
    }
    return statistics.median(1000 * case.seconds / slices[case.name] for case in evaluation.cases)


if __name__ == "__main__":
    main()
