"""Export: a run folder becomes one `.onnx` file with its manifest, checked against PyTorch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnx_ir.passes.common as onnx_passes
import onnxscript.optimizer
import torch
from numpy.typing import NDArray
from torch import nn

from embedded_vit.artifact.manifest import GraphPrecision, Manifest, hashed_names, read_artifact, sealed
from embedded_vit.artifact.onnx_file import graph_digest
from embedded_vit.contract import SpacingRange
from embedded_vit.datasets import open_data_set_like
from embedded_vit.datasets.data_set import DataSet, Split
from embedded_vit.engines import Agreement, compare, grainy_images, load, open_network
from embedded_vit.errors import DataSetError, NetworkError
from embedded_vit.export.plausible_masks import measured_plausibility
from embedded_vit.io.atomic import atomic_path, refuse_existing
from embedded_vit.layers.convolutions import without_batch_norms
from embedded_vit.predict.vectors import check_vectors_folder, write_test_vectors
from embedded_vit.preprocessing import Preprocessing, network_inputs
from embedded_vit.quiet import without_warnings
from embedded_vit.slicing import Orientation
from embedded_vit.training.checkpoint import Checkpoint, TrainingRecord, load_checkpoint

__all__ = [
    "ExportReport",
    "LayeredGraph",
    "export",
    "export_checkpoint",
    "layered_graph",
    "model_name",
    "onnx_graph",
    "with_plausibility",
]

OPERATOR_SET = 20  # ONNX 1.15, October 2023: the first with Gelu, which engines compute in one pass over the tokens
FOLDING_LIMIT_ELEMENTS = 2**28  # fold constants of any size that a network can have
VERIFIED_CASES, VERIFIED_SLICES = 4, 4
SPACING_CASES = 16  # training cases, evenly chosen, whose spacings say what the network has seen
LONGEST_NAME = 64
SPACING_MARGIN = 1.5  # augmentation scales by about as much


@dataclass(frozen=True)
class ExportReport:
    """The result of an export, and how it was checked.

    Attributes:
        path: The artifact.
        size_bytes: Its size.
        manifest: Its manifest.
        agreement: Its agreement with PyTorch.
        checked_on: The inputs of that check: real slices of a data set, or synthetic ones without a data set.
        vectors_of: The case whose test vectors were written; None where none were asked for.
    """

    path: Path
    size_bytes: int
    manifest: Manifest
    agreement: Agreement
    checked_on: str
    vectors_of: str | None = None


def export(
    run_folder: str | Path,
    output: str | Path,
    *,
    data_folder: str | Path | None = None,
    name: str | None = None,
    test_vectors: str | Path | None = None,
    dynamic_batch: bool = False,
    overwrite: bool = False,
) -> ExportReport:
    """Make an artifact of a trained network.

    Args:
        run_folder: A checkpoint folder.
        output: The `.onnx` file to write.
        data_folder: The data set whose slices the artifact is checked on; by default the one it was trained on.
        name: The model's name; by default that of the data set and that of the run folder.
        test_vectors: A new or empty folder for the first case at every stage, as `write_test_vectors` writes it.
        dynamic_batch: Let the graph take any number of images at a time instead of one.
        overwrite: Whether `output` may exist.

    Raises:
        OutputError: `output` exists or cannot be written, or `test_vectors` is not an empty folder.
        DataSetError: `test_vectors` are asked for, and the data set of the training is gone.
        CheckpointError: The run folder cannot be loaded.
        ContractError: The artifact does not compute what PyTorch computes.
        NetworkError: The network uses what ONNX cannot express.
    """
    if test_vectors is not None:
        check_vectors_folder(Path(test_vectors))
    checkpoint = load_checkpoint(run_folder)
    data_set = _data_set(checkpoint, data_folder)
    if test_vectors is not None and data_set is None:
        raise DataSetError(f"{checkpoint.record.data_folder}: no data set, and test vectors need a case; give --data")
    report = export_checkpoint(
        checkpoint,
        Path(output),
        data_set,
        name=name or model_name(checkpoint.record, data_set, Path(run_folder)),
        dynamic_batch=dynamic_batch,
        overwrite=overwrite,
    )
    if test_vectors is None or data_set is None:
        return report
    case = data_set.cases[0]
    write_test_vectors(report.path, data_set.read_volume(case), test_vectors)
    return replace(report, vectors_of=case.name)


def model_name(record: TrainingRecord, data_set: DataSet | None, run: Path) -> str:
    """Name a model after the data set that it was trained on and after its run folder: "spleen-run-3"."""
    folder = Path(record.data_folder)
    trained_here = data_set is not None and data_set.folder.resolve() == folder.resolve()
    data_name = data_set.name if data_set is not None and trained_here else folder.name
    words = re.findall(r"[a-z0-9]+", f"{data_name} {run.resolve().name}".lower())
    return "-".join(words)[:LONGEST_NAME] or record.data_fingerprint[:12]


def export_checkpoint(
    checkpoint: Checkpoint,
    output: Path,
    data_set: DataSet | None,
    *,
    graph: bytes | None = None,
    name: str | None = None,
    precision: GraphPrecision = "fp32",
    compression: dict[str, Any] | None = None,
    judged: bool = True,
    dynamic_batch: bool = False,
    overwrite: bool = False,
) -> ExportReport:
    """Make an artifact of a checkpoint in memory.

    Args:
        checkpoint: The network, its configuration and its record.
        output: The `.onnx` file to write.
        data_set: The data set whose slices the artifact is checked on; None for synthetic inputs.
        graph: A serialized ONNX model of the network in a lower precision, which need not give PyTorch's logits; by
            default the network is translated, and must.
        name: The model's name, for the manifest; by default the network's.
        precision: The graph's precision, for the manifest.
        compression: The compression plan, for the manifest.
        judged: Whether to measure what plausible masks look like, on all cases; `with_plausibility` does it later.
        dynamic_batch, overwrite: As `export`.

    Raises:
        As `export`.
    """
    if not overwrite:
        refuse_existing(output)
    network, preprocessing = checkpoint.network.float().eval(), checkpoint.config.preprocessing
    exact = graph is None
    if graph is None:
        graph = onnx_graph(network, preprocessing, dynamic_batch=dynamic_batch)
    manifest = _manifest(checkpoint, data_set, graph, precision, compression)
    if name is not None:
        manifest = manifest.model_copy(update={"name": name})
    if judged and data_set is not None:
        found = measured_plausibility(data_set, checkpoint.record.split, manifest.contract, open_network(network))
        manifest = manifest.model_copy(update={"plausibility": found})
    images: Iterable[NDArray[np.float32]]
    if data_set is None:
        images = grainy_images(preprocessing)
        checked_on = f"synthetic inputs: no data set at {checkpoint.record.data_folder}"
    else:
        images, checked_on = _real_inputs(data_set, preprocessing), f"real slices of {data_set.folder}"
    with atomic_path(output, overwrite=overwrite) as temporary:
        temporary.write_bytes(sealed(graph, manifest))
        agreement = compare(open_network(network), load(temporary), images)
        if exact:
            agreement.check(f"{output}: ONNX Runtime against PyTorch")
    return ExportReport(output, output.stat().st_size, manifest, agreement, checked_on)


def with_plausibility(artifact: Path, output: Path, data_set: DataSet, split: Split) -> None:
    """Write an artifact again with what plausible masks look like, measured with the artifact itself.

    Args:
        artifact: Made without being `judged`.
        output: The `.onnx` file to write, in place of an older one.
        data_set: The data set that it was trained on.
        split: Its cases.

    Raises:
        OutputError: `output` cannot be written.
        FileFormatError: `artifact` cannot be read.
    """
    content, manifest = read_artifact(artifact)
    found = measured_plausibility(data_set, split, manifest.contract, load(artifact))
    with atomic_path(output, overwrite=True) as temporary:
        temporary.write_bytes(sealed(content, manifest.model_copy(update={"plausibility": found})))


@dataclass(frozen=True, eq=False)
class LayeredGraph:
    """A translated network whose constants are known to be weights of its layers.

    Attributes:
        content: A serialized ONNX model.
        layer_of: Name of a constant that was made from one layer's weights -> name of the layer. What the translation
            transposed, split, summed or reshaped is in it too.
    """

    content: bytes
    layer_of: dict[str, str]


def onnx_graph(network: nn.Module, preprocessing: Preprocessing, *, dynamic_batch: bool = False) -> bytes:
    """Translate a network: (B, C, S, S) "image" in, (B, K, S, S) "logits" out, constants folded, weights inside.

    Returns:
        A serialized ONNX model without metadata, which could tell folders of the computer that exported it.

    Raises:
        NetworkError: It uses what ONNX cannot express.
    """
    return layered_graph(network, preprocessing, dynamic_batch=dynamic_batch).content


def layered_graph(network: nn.Module, preprocessing: Preprocessing, *, dynamic_batch: bool = False) -> LayeredGraph:
    """Translate a network as `onnx_graph` does, and say which layer each constant comes from."""
    size, channels = preprocessing.image_size, preprocessing.input_channels
    example = torch.zeros(2 if dynamic_batch else 1, channels, size, size)
    dynamic_shapes = ({0: torch.export.Dim("batch")},) if dynamic_batch else None
    with without_warnings("torch.onnx"):  # it looks for packages, and announces deprecations of its own
        try:
            program = torch.onnx.export(
                without_batch_norms(network),
                (example,),
                dynamo=True,
                opset_version=OPERATOR_SET,
                input_names=["image"],
                output_names=["logits"],
                dynamic_shapes=dynamic_shapes,
                verbose=False,
                optimize=False,  # its folding stops at small tensors; ours, below, at none
            )
        except torch.onnx.OnnxExporterError as error:
            raise NetworkError(f"the network cannot be exported: {str(error).strip().splitlines()[0]:.200}") from error
    assert program is not None
    model = program.model
    layer_of = _layers_of_constants(model, network)
    onnxscript.optimizer.optimize(
        model, input_size_limit=FOLDING_LIMIT_ELEMENTS, output_size_limit=FOLDING_LIMIT_ELEMENTS
    )
    onnx_passes.ClearMetadataAndDocStringPass()(model)
    serialized: bytes = onnx_ir.to_proto(model).SerializeToString(deterministic=True)
    constants = model.graph.initializers
    return LayeredGraph(serialized, {name: layer for name, layer in layer_of.items() if name in constants})


def _layers_of_constants(model: onnx_ir.Model, network: nn.Module) -> dict[str, str]:
    """Follow weights through everything that is computed from constants alone, before it is folded into constants.

    Returns:
        Name of a value -> name of the layer of its only weight; folding leaves names as they are.
    """
    parameters = network.named_parameters(remove_duplicate=False)  # one of two layers that share it may give the name
    weights = {name for name, parameter in parameters if parameter.ndim > 1}
    made_from = {name: {name} & weights for name in model.graph.initializers}
    for node in model.graph:
        inputs = [str(value.name) for value in node.inputs if value is not None]
        if all(name in made_from for name in inputs):
            origins = set().union(*(made_from[name] for name in inputs))
            made_from |= {str(value.name): origins for value in node.outputs}
    return {name: min(origins).removesuffix(".weight") for name, origins in made_from.items() if len(origins) == 1}


def _manifest(
    checkpoint: Checkpoint,
    data_set: DataSet | None,
    graph: bytes,
    precision: GraphPrecision,
    compression: dict[str, Any] | None,
) -> Manifest:
    config, record = checkpoint.config, checkpoint.record
    spacing_range = None
    if data_set is not None:
        spacing_range = _spacing_range(data_set, record.split.train, config.preprocessing.orientation)
    return Manifest(
        name=config.network.name,
        network=config.network.model_dump(mode="json"),
        preprocessing=config.preprocessing,
        postprocessing=config.postprocessing,
        spacing_range=spacing_range,
        intensities=config.intensities,
        labels=config.labels,
        precision=precision,
        recipe=config.training.recipe,
        compression=compression,
        data_fingerprint=record.data_fingerprint,
        metrics=_metrics(record),
        split={subset: hashed_names(record.split.names(subset)) for subset in ("train", "validation", "test")},
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        graph_sha256=graph_digest(graph),
    )


def _metrics(record: TrainingRecord) -> dict[str, float] | None:
    """Return the selected epoch's scores on the validation cases; None without any."""
    for row in record.epochs:
        if row.epoch == record.selected_epoch and row.validation_dice is not None:
            return {"validation_dice": row.validation_dice}
    return None


def _spacing_range(data_set: DataSet, train: tuple[str, ...], orientation: Orientation) -> SpacingRange | None:
    """Return the spacings of the training cases with `SPACING_MARGIN` on both sides; None where they have none."""
    cases = [case for case in data_set.cases if case.name in train]  # none where `--data` is another data set
    step = max(1, -(-len(cases) // SPACING_CASES))
    slices_mm, in_plane_mm = [], []
    for case in cases[::step]:
        volume = data_set.read_volume(case).reoriented(orientation)
        if not volume.spacing_known:
            return None
        between_slices, *in_plane = volume.spacing_mm
        slices_mm.append(between_slices)
        in_plane_mm.extend(in_plane)
    if not slices_mm:
        return None
    return SpacingRange(
        slices_mm=(min(slices_mm) / SPACING_MARGIN, max(slices_mm) * SPACING_MARGIN),
        in_plane_mm=(min(in_plane_mm) / SPACING_MARGIN, max(in_plane_mm) * SPACING_MARGIN),
    )


def _data_set(checkpoint: Checkpoint, folder: str | Path | None) -> DataSet | None:
    """Open the data set asked for, or else that of the training; None if that is gone."""
    structures = checkpoint.config.labels.names
    if folder is not None:
        return open_data_set_like(folder, structures)
    try:
        return open_data_set_like(checkpoint.record.data_folder, structures)
    except DataSetError:
        return None


def _real_inputs(data_set: DataSet, preprocessing: Preprocessing) -> Iterator[NDArray[np.float32]]:
    """Yield slices at even distances from a few cases: (1, C, S, S)."""
    step = max(1, len(data_set.cases) // VERIFIED_CASES)
    for case in data_set.cases[::step][:VERIFIED_CASES]:
        volume = data_set.read_volume(case).reoriented(preprocessing.orientation)
        slice_step = max(1, volume.shape[0] // VERIFIED_SLICES)
        for image in islice(network_inputs(volume, preprocessing), slice_step // 2, None, slice_step):
            yield image[None]
