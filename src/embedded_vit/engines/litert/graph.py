"""Translation of a model file's ONNX graph into LiteRT's format, when the file is loaded.

So a device holds one ONNX file for all engines. Each function that translates an operator of
https://onnx.ai/onnx/operators takes the translation and the node, and returns how the node's output is held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from embedded_vit.artifact.onnx_graph import Node, OnnxGraph
from embedded_vit.engines.litert.arithmetic import clip, elementwise, gelu, reduce_l2, reduce_sum, relu, softmax, sqrt
from embedded_vit.engines.litert.axes import concat, expand, reshape, split, transpose, unsqueeze
from embedded_vit.engines.litert.convolutions import conv, conv_transpose, max_pool, resize
from embedded_vit.engines.litert.products import layer_norm, matmul
from embedded_vit.engines.litert.translation import Held, Translation

__all__ = ["litert_model"]

OPERATORS: Mapping[str, Callable[[Translation, Node], Held | tuple[Held, ...]]] = {
    "Add": elementwise,
    "Clip": clip,
    "Concat": concat,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Div": elementwise,
    "Expand": expand,
    "Gelu": gelu,
    "LayerNormalization": layer_norm,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "Mul": elementwise,
    "ReduceL2": reduce_l2,
    "ReduceSum": reduce_sum,
    "Relu": relu,
    "Reshape": reshape,
    "Resize": resize,
    "Softmax": softmax,
    "Split": split,
    "Sqrt": sqrt,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}


def litert_model(graph: OnnxGraph) -> bytes:
    """Translate a graph of batch 1.

    Returns:
        A serialized LiteRT (TensorFlow Lite) model: (1, C, S, S) in, (1, K, S, S) out, float32.

    Raises:
        ValueError: The graph is quantized, or has operators that the networks of this project do not need.
    """
    translation = Translation(graph)
    for node in graph.nodes:
        if translation.is_known(node.outputs[0]):
            continue
        if node.operator not in OPERATORS:
            raise ValueError(f"operator {node.operator}")
        made = OPERATORS[node.operator](translation, node)
        outputs = made if isinstance(made, tuple) else (made,)
        translation.held |= dict(zip(node.outputs, outputs, strict=False))  # optional outputs are not made
    logits = translation.plain(translation.held[graph.output])
    return translation.builder.serialized([translation.held[graph.input].index], [logits])
