"""The state of a translation from ONNX to LiteRT: which LiteRT tensor holds each ONNX tensor, and how.

LiteRT needs images with channels last, and softmax over the last axis. The networks' tokens have that order already, so
most transposes around convolutions and products, which ONNX needs, are dropped: a transposed tensor is kept as it is
and read in the other order.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.artifact.onnx_graph import Node, OnnxGraph
from embedded_vit.engines.litert.builder import GraphBuilder

__all__ = ["Held", "Translation"]

TO_CHANNELS_LAST = {3: (0, 2, 1), 4: (0, 2, 3, 1)}
TO_CHANNELS_FIRST = {3: (0, 2, 1), 4: (0, 3, 1, 2)}


@dataclass(frozen=True)
class Held:
    """The way in which the LiteRT graph holds an ONNX tensor.

    Attributes:
        index: The LiteRT tensor.
        shape: The shape of the ONNX tensor, (1, C, ...).
        channels_last: Whether the LiteRT tensor is (1, ..., C).
    """

    index: int
    shape: tuple[int, ...]
    channels_last: bool = False


class Translation:
    """The state that the operators of a graph share while they are translated, one after another.

    Attributes:
        builder: The LiteRT graph.
        held: ONNX's name -> how the tensor is held.
        constants: ONNX's name -> a constant that is not in the LiteRT graph yet.
        affine: ONNX's name -> scale and shift still to be applied to the tensor, (C,) each.
        users: ONNX's name -> the nodes that take the tensor.
    """

    def __init__(self, graph: OnnxGraph) -> None:
        self.builder = GraphBuilder()
        self.held = {graph.input: Held(self.builder.tensor(graph.input_shape), graph.input_shape)}
        self.constants: dict[str, NDArray[Any]] = dict(graph.weights)
        self.affine: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
        self.users: dict[str, list[Node]] = defaultdict(list)
        for node in graph.nodes:
            for name in node.inputs:
                self.users[name].append(node)
            if node.operator == "Cast" and node.inputs[0] in self.constants:  # weights that are stored in float16
                self.constants[node.outputs[0]] = self.constants[node.inputs[0]].astype(np.float32)

    def is_known(self, name: str) -> bool:
        """Return whether a tensor is a constant or is held already, for example a bias that was merged."""
        return name in self.held or name in self.constants

    def plain(self, value: Held) -> int:
        """Return a tensor in ONNX's order of axes."""
        if not value.channels_last:
            return value.index
        return self.builder.transposed(value.index, TO_CHANNELS_FIRST[len(value.shape)])

    def channels_last(self, value: Held) -> int:
        """Return a tensor with its channels last."""
        if value.channels_last:
            return value.index
        return self.builder.transposed(value.index, TO_CHANNELS_LAST[len(value.shape)])

    def operand(self, name: str) -> int:
        """Return an input in ONNX's order of axes, constant or not."""
        if name in self.constants:
            return self.builder.constant(self.constants[name])
        return self.plain(self.held[name])

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Return the shape of ONNX's tensor."""
        return self.constants[name].shape if name in self.constants else self.held[name].shape
