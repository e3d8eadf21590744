"""The way back: the network of an artifact, with weights that can be trained further.

A graph holds weights in another form than a checkpoint: batch norms are folded into kernels, matrices are transposed
or split, and what cancels is gone. So a network of the same architecture whose every weight is a number of its own is
translated too. Where a number of it lies in that graph, the artifact's number of the same place is the weight. What is
nowhere in the graph cannot change a mask, and becomes 0. The result is compared with the artifact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embedded_vit.artifact.manifest import Manifest, read_artifact
from embedded_vit.artifact.onnx_graph import Node, OnnxGraph, read_graph
from embedded_vit.datasets.data_set import Split
from embedded_vit.engines import compare, grainy_images, load, open_network
from embedded_vit.errors import CheckpointError, ContractError
from embedded_vit.export.exporting import onnx_graph
from embedded_vit.layers.convolutions import ConvolutionStage, NormedConvolution, without_batch_norms
from embedded_vit.models.registry import NetworkConfig, build_network
from embedded_vit.training.checkpoint import Checkpoint, TrainingRecord
from embedded_vit.training.settings import RecipeName, RunConfig, TrainingConfig

__all__ = ["checkpoint_of_artifact", "config_of_artifact", "with_statistics"]

WIDENING = ("Cast", "DequantizeLinear", "Reshape")  # of weights that are stored in fewer bytes
LOWEST, SPACING = 0.25, 8  # probe numbers start here and are so many units in the last place apart
MOST_NUMBERS = 2**20  # that stay apart when 1 is added, as to the centre of a depthwise kernel
NEAR = 1e-7  # rounding of that sum
RUN_ADVICE = "fine-tune from its run folder instead"

FloatArray = NDArray[np.float32]


def checkpoint_of_artifact(path: Path) -> Checkpoint:
    """Rebuild the network of a model file, with its weights.

    Batch norms do nothing until `with_statistics` has seen images. The record of the training is empty: a model file
    names neither its cases nor its data.

    Raises:
        CheckpointError: The graph is quantized, of another version or of a user's own network, or too large.
        FileFormatError: The file is not an artifact.
    """
    content, manifest = read_artifact(path)
    config = _run_config(manifest, path)
    network = build_network(config.network).eval()
    folded = without_batch_norms(network)
    _fill(folded, _weights_of(folded, config, read_graph(content), path))
    _take_folded(network, folded)
    engine = load(path)
    agreement = compare(open_network(network), engine, grainy_images(config.preprocessing))
    try:
        agreement.check(str(path))
    except ContractError as error:
        raise CheckpointError(f"{path}: its weights cannot be read back ({agreement}); {RUN_ADVICE}") from error
    record = TrainingRecord(
        data_folder="",
        data_fingerprint=manifest.data_fingerprint,
        split=Split(seed=0, train=(), validation=(), test=()),
    )
    return Checkpoint(network, config, record)


def with_statistics(network: nn.Module, images_bchw: Tensor) -> nn.Module:
    """Give batch norms that do nothing the statistics of some images; the network computes the same as before.

    Training begins where the network is only if a batch norm divides by what its channels really vary by.

    Args:
        network: A network of `checkpoint_of_artifact`; changed.
        images_bchw: (B, C, S, S) float32.
    """
    seen: dict[nn.BatchNorm2d, tuple[Tensor, Tensor]] = {}

    def look(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        variance, mean = torch.var_mean(inputs[0].double(), dim=(0, 2, 3))
        seen[norm] = mean, variance

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    handles = [norm.register_forward_pre_hook(look) for norm in norms]
    with torch.no_grad():
        network.eval()(images_bchw)
        for norm, (mean, variance) in seen.items():
            assert norm.running_mean is not None
            assert norm.running_var is not None
            before = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()  # what it multiplies by
            shift = norm.bias.double() - norm.running_mean.double() * before
            norm.weight.copy_(before * (variance + norm.eps).sqrt())
            norm.bias.copy_(shift + mean * before)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
    for handle in handles:
        handle.remove()
    return network


def config_of_artifact(path: Path) -> RunConfig:
    """Return the configuration of the network of a model file; errors as `checkpoint_of_artifact`."""
    return _run_config(read_artifact(path)[1], path)


def _run_config(manifest: Manifest, path: Path) -> RunConfig:
    if manifest.is_int8:
        raise CheckpointError(f"{path}: an int8 model cannot be trained further; take the float model, or its run")
    network = NetworkConfig.parse(manifest.network, source=str(path))
    if network.model is not None:
        raise CheckpointError(f"{path}: a network of your own, {network.model}; {RUN_ADVICE}")
    if manifest.preprocessing.input_channels == 1:  # kernels of copies of a grey channel are summed in the graph
        network = network.model_copy(update={"in_channels": 1})
    recipe: RecipeName = "paper" if manifest.recipe == "paper" else "modern"
    return RunConfig(
        network=network,
        preprocessing=manifest.preprocessing,
        postprocessing=manifest.postprocessing,
        labels=manifest.labels,
        training=TrainingConfig.for_recipe(recipe),
    )


def _weights_of(network: nn.Module, config: RunConfig, graph: OnnxGraph, path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the artifact's value of every parameter, by name; 0 for what is not in the graph."""
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    count = sum(parameter.numel() for parameter in network.parameters())
    if count > MOST_NUMBERS:
        raise CheckpointError(f"{path}: {count:,} weights, at most {MOST_NUMBERS:,} can be read back; {RUN_ADVICE}")
    lowest = int(np.float32(LOWEST).view(np.int32))
    numbers = np.arange(lowest, lowest + SPACING * count, SPACING, dtype=np.int32).view(np.float32)  # rising
    _fill(network, _split(numbers, shapes))
    probe = read_graph(onnx_graph(network, config.preprocessing))
    values = np.zeros(count, np.float32)
    for of_probe, of_artifact in _pairs(probe, graph, path):
        if of_probe.size == 1 and of_probe[0] == of_artifact[0]:
            continue  # a number of the architecture
        for added in (0.0, 1.0):
            places = np.clip(np.searchsorted(numbers, of_probe - added - NEAR), 0, count - 1)
            found = np.abs(numbers[places] + np.float32(added) - of_probe) <= NEAR * added
            values[places[found]] = of_artifact[found] - np.float32(added)
    return _split(values, shapes)


def _pairs(probe: OnnxGraph, graph: OnnxGraph, path: Path) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield the constants of two graphs of one architecture, those of one place together, as vectors.

    Where a layer was translated in another way by an older version, its constants are taken in their order.
    """
    ours, theirs = _constants(probe), _constants(graph)
    alike = SequenceMatcher(None, [each.shape for each in ours], [each.shape for each in theirs], autojunk=False)
    for kind, first, last, other_first, other_last in alike.get_opcodes():
        one, other = ours[first:last], theirs[other_first:other_last]
        if kind == "equal":
            yield from zip(map(np.ravel, one), map(np.ravel, other), strict=True)
            continue
        for forms, other_forms in zip(_distinct(one), _distinct(other), strict=False):
            pairs = [(each, form) for each in forms for form in other_forms]
            each, form = next((pair for pair in pairs if pair[0].shape == pair[1].shape), pairs[0])
            if each.size == form.size:  # what is missed shows when the network is compared with the file
                yield each.ravel(), form.ravel()


def _constants(graph: OnnxGraph) -> list[FloatArray]:
    """Return the float arrays in the order in which they are used, as they are computed with; no single numbers."""
    weights = dict(graph.weights)
    found = []
    for node in graph.nodes:
        if all(name in weights for name in node.inputs) and node.operator in WIDENING:
            weights[node.outputs[0]] = _widened(node, [weights[name] for name in node.inputs])
        else:
            used = [weights[name] for name in node.inputs if name in weights]
            found += [each for each in used if each.dtype == np.float32 and each.ndim]
    return found


def _widened(node: Node, inputs: list[NDArray[Any]]) -> NDArray[Any]:
    """Compute a node that turns stored numbers into those that are computed with."""
    if node.operator == "Reshape":
        return inputs[0].reshape(inputs[1])
    if node.operator == "Cast":
        return inputs[0].astype(np.float32)
    stored, scales = inputs
    return stored.astype(np.float32) * scales.reshape(-1, *[1] * (stored.ndim - 1))


def _distinct(constants: Sequence[FloatArray]) -> list[list[FloatArray]]:
    """Put constants of the same numbers together, in whatever shape or order of axes."""
    seen: dict[bytes, list[FloatArray]] = {}
    for each in constants:
        seen.setdefault(np.sort(each, axis=None).tobytes(), []).append(each)
    return list(seen.values())


def _split(values: NDArray[np.float32], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    """Cut one vector into arrays of these shapes."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
    parts = np.split(values, ends[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def _fill(network: nn.Module, values: Mapping[str, NDArray[np.float32]]) -> None:
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.from_numpy(values[name]))


def _take_folded(network: nn.Module, folded: nn.Module) -> None:
    """Give a network the weights of its form without batch norms; the norms then only add what was a bias."""
    layers = dict(folded.named_modules())
    own = network.state_dict()
    same = {name: value for name, value in folded.state_dict().items() if name in own}
    with torch.no_grad():
        for name, value in same.items():
            own[name].copy_(value)
        for name, module in network.named_modules():
            for convolution, norm in _normed(module):
                kernel = layers[f"{name}.{convolution}"]
                assert isinstance(kernel, nn.Conv2d)
                assert kernel.bias is not None
                scale = module.get_submodule(norm)
                assert isinstance(scale, nn.BatchNorm2d)
                assert scale.running_mean is not None
                assert scale.running_var is not None
                scale.weight.fill_(1)
                scale.running_mean.zero_()
                scale.running_var.fill_(1 - scale.eps)
                scale.bias.copy_(kernel.bias)


def _normed(module: nn.Module) -> tuple[tuple[str, str], ...]:
    """Return the names of a module's convolutions and of their batch norms."""
    if isinstance(module, ConvolutionStage):
        return (("convolution1", "norm1"), ("convolution2", "norm2"))
    return (("convolution", "norm"),) if isinstance(module, NormedConvolution) else ()
