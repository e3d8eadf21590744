"""Artifacts that segment the phantoms' eight organs badly, but alike on every computer."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 9
LOWEST, HIGHEST = -0.04, 0.22  # of the network's input: organs lie between, 67 to 119 HU of the window


def organ_graph(shift: float = 0.0, size: int = 32) -> onnx.ModelProto:
    """Make a graph: class 1 + n where the slice is in the n-th eighth of the organs' intensities, moved by `shift`."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, size, size])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES, size, size])
    organs = np.linspace(LOWEST, HIGHEST, CLASSES - 1) + shift
    centres = np.concatenate([[-1.0], organs]).astype(np.float32).reshape(1, CLASSES, 1, 1)
    nodes = [
        helper.make_node("Sub", ["image", "centres"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["distance"]),
        helper.make_node("Neg", ["distance"], ["logits"]),
    ]
    graph = helper.make_graph(nodes, "organs", [image], [logits], [numpy_helper.from_array(centres, "centres")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
