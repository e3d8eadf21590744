from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from embedded_vit.costs.complexity import complexity
from embedded_vit.costs.graph_macs import count_macs, node_macs
from embedded_vit.errors import FileFormatError
from embedded_vit.export.exporting import onnx_graph
from embedded_vit.models.registry import build_network, network_config
from embedded_vit.preprocessing import Preprocessing


def test_the_count_of_the_file_is_pytorchs_count_of_the_network() -> None:
    config = network_config(classes=5, image_size=32, widths=(16, 24))
    preprocessing = Preprocessing.for_modality("CT", image_size=32)
    graph = onnx_graph(build_network(config).eval(), preprocessing)
    expected = complexity(config, input_channels=1).macs
    assert count_macs(graph, source="small") == expected


@pytest.mark.parametrize(
    ("operator", "inputs", "outputs", "macs"),
    [
        ("MatMul", [[2, 8, 5, 3], [3, 7]], [[2, 8, 5, 7]], 2 * 8 * 5 * 3 * 7),
        ("Gemm", [[5, 3], [3, 7], [7]], [[5, 7]], 5 * 3 * 7),
        ("Gemm", [[3, 5], [7, 3], [7]], [[5, 7]], 5 * 3 * 7),  # both transposed
        ("Conv", [[1, 16, 8, 8], [32, 16, 3, 3]], [[1, 32, 4, 4]], 32 * 16 * 9 * 16),
        ("Conv", [[1, 16, 8, 8], [16, 1, 3, 3]], [[1, 16, 8, 8]], 16 * 9 * 64),  # depthwise
        ("ConvTranspose", [[1, 16, 4, 4], [16, 8, 2, 2]], [[1, 8, 8, 8]], 16 * 16 * 8 * 4),
        ("LayerNormalization", [[1, 64, 32], [32], [32]], [[1, 64, 32]], 0),
    ],
)
def test_each_operator_counts_its_products(
    operator: str, inputs: list[list[int]], outputs: list[list[int]], macs: int
) -> None:
    assert node_macs(operator, inputs, outputs) == macs


def test_a_graph_that_cannot_run_is_one_line() -> None:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    weight = numpy_helper.from_array(np.zeros((3, 3), np.float32), "weight")
    node = helper.make_node("MatMul", ["image", "weight"], ["logits"])  # 8 columns, 3 rows
    graph = helper.make_graph([node], "broken", [image], [logits], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(FileFormatError, match=r"^broken\.onnx: ONNX Runtime cannot run it") as refused:
        count_macs(model.SerializeToString(), source="broken.onnx")
    assert "\n" not in str(refused.value)
