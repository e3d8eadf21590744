"""Weights stored in fewer bytes than they are computed in; the graph widens them when it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["float_weights", "store_as_half", "store_as_int8", "without_annotations"]

HALF_WORTHWHILE = 128  # elements; in smaller tensors the node that widens them takes the bytes that are saved
INT8_WORTHWHILE = 512

Packed = tuple[list[TensorProto], list[onnx.NodeProto]]


def float_weights(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """Return the float32 constants of a graph by name."""
    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
    }


def store_as_half(model: onnx.ModelProto) -> None:
    """Store float32 constants as float16, with a Cast before their use; those that float16 cannot hold stay.

    Everything is still computed in float32, because most CPU kernels know nothing else; engines on a GPU or NPU choose
    their own precision.
    """
    weights = {
        name: weight
        for name, weight in float_weights(model).items()
        if weight.size >= HALF_WORTHWHILE and np.abs(weight).max() <= np.finfo(np.float16).max
    }
    _store(model, weights, _as_half)


def store_as_int8(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Store the named float32 constants of two or more dimensions as int8, with one scale per row of the last axis."""
    weights = {
        name: weight
        for name, weight in float_weights(model).items()
        if name in names and weight.ndim > 1 and weight.size >= INT8_WORTHWHILE
    }
    _store(model, weights, _as_int8)


def without_annotations(model: onnx.ModelProto) -> bytes:
    """Serialize a graph without inferred shapes, metadata, long names and unused operator sets."""
    del model.graph.value_info[:]
    del model.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    _shorten_names(model.graph)
    used = {node.domain for node in model.graph.node}
    operator_sets = [version for version in model.opset_import if version.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(operator_sets)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def _shorten_names(graph: onnx.GraphProto) -> None:
    """Give numbers to all values except inputs and outputs: in a small network names take as many bytes as scales."""
    if any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute):
        return  # inner graphs refer to names of the outer one
    kept = {value.name: value.name for value in (*graph.input, *graph.output)} | {"": ""}
    names = [*(tensor.name for tensor in graph.initializer), *(name for node in graph.node for name in node.output)]
    short = {name: f"{place:x}" for place, name in enumerate(names)} | kept
    for tensor in graph.initializer:
        tensor.name = short[tensor.name]
    for node in graph.node:
        node.name = ""
        node.input[:] = [short[name] for name in node.input]
        node.output[:] = [short[name] for name in node.output]


def _store(
    model: onnx.ModelProto,
    weights: dict[str, NDArray[np.float32]],
    pack: Callable[[str, str, NDArray[np.float32]], Packed],
) -> None:
    """Replace initializers by packed ones, with nodes in front that restore the values under their old names."""
    packed = [pack(name, f"w{place}", weight) for place, (name, weight) in enumerate(weights.items())]
    tensors = [tensor for new, _ in packed for tensor in new]
    tensors += [tensor for tensor in model.graph.initializer if tensor.name not in weights]
    nodes = [node for _, new in packed for node in new] + list(model.graph.node)
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _as_half(name: str, short: str, weight: NDArray[np.float32]) -> Packed:
    cast = helper.make_node("Cast", [short], [name], to=TensorProto.FLOAT)
    return [numpy_helper.from_array(weight.astype(np.float16), short)], [cast]


def _as_int8(name: str, short: str, weight: NDArray[np.float32]) -> Packed:
    rows = weight.reshape(-1, weight.shape[-1])  # (rows, columns)
    scales = np.abs(rows).max(axis=1) / 127
    scales[scales == 0] = 1
    tensors = [
        numpy_helper.from_array(np.round(rows / scales[:, None]).astype(np.int8), short),
        numpy_helper.from_array(scales.astype(np.float32), f"{short}s"),
    ]
    if weight.ndim == 2:
        return tensors, [helper.make_node("DequantizeLinear", [short, f"{short}s"], [name], axis=0)]
    tensors.append(numpy_helper.from_array(np.array(weight.shape, np.int64), f"{short}d"))
    widen = helper.make_node("DequantizeLinear", [short, f"{short}s"], [f"{short}r"], axis=0)
    return tensors, [widen, helper.make_node("Reshape", [f"{short}r", f"{short}d"], [name])]
