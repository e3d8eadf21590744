"""What the published commands do: train, prune and test."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import torch
from published import (
    NETWORKS,
    check_image_size,
    fresh_folder,
    learning_rate,
    link_data,
    removed_without,
    say,
)
from sparseml import read_sparseml

from embedded_vit.compression.step import StepContext
from embedded_vit.compression.steps.prune_weights import prunable_weights
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import Split
from embedded_vit.datasets.synapse import TEST_FOLDER
from embedded_vit.errors import CheckpointError, ConfigError
from embedded_vit.evaluation.evaluated_model import Precision
from embedded_vit.evaluation.evaluating import METRICS_FILE, REPORT_FILE, OnCase, evaluate
from embedded_vit.evaluation.table import text_table
from embedded_vit.export.exporting import export
from embedded_vit.io.nifti import write_labels, write_volume
from embedded_vit.models.reference_checkpoint import load_reference, read_reference_file, reference_name
from embedded_vit.models.registry import NETWORKS as PRESETS
from embedded_vit.models.registry import build_network, network_config
from embedded_vit.training.checkpoint import CONFIG, TrainingRecord, load_checkpoint, read_run_config, save_checkpoint
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.training import plan
from embedded_vit.training.training import train as train_network
from embedded_vit.volume import LabelMap, Volume


def train(arguments: Namespace, *, precision: Precision) -> None:
    """Train a published network by the published recipe, then score it on the test cases.

    Args:
        arguments: As `training_parser` reads them.
        precision: fp16 multiplies in float16, scales the loss and keeps weights in float32, as published.
    """
    run_folder, data = _trained(arguments, precision)
    _score(run_folder, data, run_folder / "test")


def prune(arguments: Namespace) -> None:
    """Train as `train` does, prune weights by a SparseML recipe, export to ONNX and score on the test cases.

    Args:
        arguments: As `pruning_parser` reads them.
    """
    name: str = arguments.module
    network = build_network(network_config(name, classes=2))  # any number of classes: the names are the same
    stages = len(PRESETS[name]["widths"])
    step = read_sparseml(arguments.recipe, list(prunable_weights(network)), stages=stages)
    run_folder, data = _trained(arguments, "fp32")
    pruned_folder = fresh_folder(arguments.output_dir / f"{name}-pruned")
    say(f"{step.epochs} epochs that set {step.sparsity:.0%} of the weights to zero, run folder {pruned_folder}")
    context = StepContext(
        data, load_checkpoint(run_folder), pruned_folder, device=_device(), threads=torch.get_num_threads()
    )
    result = step.apply(context.original, context, pruned_folder, frozenset())
    context.clear()
    for parameter, sparsity in result.facts["sparsity_by_parameter"].items():
        print(f"{reference_name(parameter, stages=stages)}: {sparsity:.4f}")
    exported = export(pruned_folder, pruned_folder / "model.onnx", data_folder=data)
    print(f"{result.facts['sparsity']:.1%} of the weights are zero; exported to {exported.path}")
    _score(pruned_folder, data, pruned_folder / "test")


def _trained(arguments: Namespace, precision: Precision) -> tuple[Path, Path]:
    """Train; return the run folder and the data set in it, which is made of links."""
    name: str = arguments.module
    check_image_size(arguments.img_size, PRESETS[name]["image_size"], name)
    if arguments.n_gpu < 1:
        raise ConfigError(f"--n_gpu {arguments.n_gpu}: at least 1 expected")
    training = TrainingConfig.for_recipe(
        "paper",
        epochs=arguments.max_epochs,
        batch_size=arguments.batch_size * arguments.n_gpu,
        learning_rate=learning_rate(arguments.base_lr, arguments.batch_size),
        precision=precision,
        seed=arguments.seed,
        init=str(arguments.input_model) if arguments.input_model else None,
    )
    run_folder = fresh_folder(arguments.output_dir / name)
    data = run_folder / arguments.dataset
    with removed_without(CONFIG, run_folder):
        link_data(data, train=arguments.root_path, test=arguments.test_path, lists=arguments.list_dir)
        say(f"{name} on {_device()}, run folder {run_folder}")
        train_network(data, run_folder, network=name, training=training, validation_cases=0, device=_device())
    return run_folder, data


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def test(arguments: Namespace, *, precision: Precision) -> None:
    """Score weights on the test volumes by the published protocol.

    Args:
        arguments: As `testing_parser` reads them.
        precision: fp16 multiplies in float16 and keeps weights in float32, as published.
    """
    output_dir: Path = arguments.output_dir
    model = _find_model(output_dir, arguments.max_epochs)
    results = fresh_folder((model if model.is_dir() else output_dir) / "test")
    data = results / arguments.dataset
    with removed_without(METRICS_FILE, results):
        link_data(data, train=None, test=arguments.volume_path / TEST_FOLDER, lists=arguments.list_dir)
        run_folder = model if model.is_dir() else _converted(model, data, arguments.max_epochs)
        network = read_run_config(run_folder).network
        check_image_size(arguments.img_size, network.image_size, network.name)
        say(f"testing {network.name} of {model}")
        saving = _saving(fresh_folder(output_dir / "predictions")) if arguments.is_savenii else None
        _score(run_folder, data, results, precision=precision, on_case=saving)


def _score(
    run_folder: Path, data: Path, results: Path, *, precision: Precision = "fp32", on_case: OnCase | None = None
) -> None:
    evaluation = evaluate(run_folder, data, output=results, protocol="transunet", precision=precision, on_case=on_case)
    print(text_table(evaluation))
    print(f"report: {results / REPORT_FILE}")


def _find_model(output_dir: Path, max_epochs: int) -> Path:
    """Find published weights in the folder; else the folder itself if it is a run; else its latest run."""
    published = [output_dir / "best_model.pth", output_dir / f"synapse_epoch_{max_epochs - 1}.pth"]
    runs = sorted(output_dir.glob(f"*/{CONFIG}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for candidate in (*published, output_dir / CONFIG, *runs):
        if candidate.is_file():
            return candidate if candidate in published else candidate.parent
    names = " nor ".join(path.name for path in published)
    raise CheckpointError(f"{output_dir}: holds neither a run nor {names}; train first, or give another --output_dir")


def _converted(weights: Path, data: Path, epochs: int) -> Path:
    """Make a run folder from published weights; the network is the one that they fit."""
    tensors = read_reference_file(weights)
    data_set = open_data_set(data)
    for name in NETWORKS.values():
        try:
            network = load_reference(name, tensors, classes=data_set.labels.classes)
        except CheckpointError:
            continue
        training = TrainingConfig.for_recipe("paper", epochs=epochs, init=str(weights))
        config = plan(data_set, network=name, architecture={}, training=training)
        split = Split(seed=0, train=(), validation=(), test=tuple(case.name for case in data_set.cases))
        record = TrainingRecord(data_folder=str(data.resolve()), data_fingerprint="unknown", split=split)
        save_checkpoint(weights.with_suffix(""), network.state_dict(), config, record)
        return weights.with_suffix("")
    raise CheckpointError(
        f"{weights}: fits none of {', '.join(NETWORKS.values())} with {data_set.labels.classes} classes"
    )


def _saving(folder: Path) -> OnCase:
    """Make a callback that writes each case as the published script does: mask, scan, truth, spacing 1, 1, 1."""

    def save(case: str, volume: Volume, truth: LabelMap, prediction: LabelMap) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_labels(folder / f"{case}_pred.nii.gz", prediction)
        write_volume(folder / f"{case}_img.nii.gz", volume)
        write_labels(folder / f"{case}_gt.nii.gz", truth)

    return save
