"""MACs of a model file, counted from the shapes that ONNX Runtime meets while it runs the file's graph.

The graph in the file is counted, be it pruned, quantized or a user's own; PyTorch is not needed. The graph runs as
written, before ONNX Runtime fuses nodes. Convolutions and matrix products count, as everywhere in this package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from embedded_vit.engines import executed_nodes

__all__ = ["COUNTER", "count_macs", "node_macs"]

COUNTER = "convolutions and matrix products by the shapes in ONNX Runtime's profile of the unfused graph"


def count_macs(graph: bytes, *, source: str) -> int:
    """Count the multiply-accumulates of one image.

    Args:
        graph: A serialized ONNX model with one input, whose shape is known except for the batch.
        source: Its name in messages.

    Raises:
        FileFormatError: ONNX Runtime cannot run the graph.
    """
    return sum(node_macs(node.operator, node.inputs, node.outputs) for node in executed_nodes(graph, source=source))


def node_macs(operator: str, inputs: Sequence[Sequence[int]], outputs: Sequence[Sequence[int]]) -> int:
    """Count the multiply-accumulates of one node; 0 unless it is a convolution or a matrix product.

    Args:
        operator: The node's operator in ONNX's standard domain.
        inputs, outputs: Shapes of the node's tensors.
    """
    if operator == "MatMul":  # (..., M, N) x (..., N, P) -> (..., M, P)
        return math.prod(outputs[0]) * inputs[0][-1]
    if operator == "Gemm":  # (M, N) or its transpose, -> (M, P)
        return math.prod(inputs[0]) * outputs[0][1]
    if operator == "Conv":  # kernel (out, in / groups, height, width)
        return math.prod(outputs[0]) * math.prod(inputs[1][1:])
    if operator == "ConvTranspose":  # kernel (in, out / groups, height, width)
        return math.prod(inputs[0]) * math.prod(inputs[1][1:])
    return 0
