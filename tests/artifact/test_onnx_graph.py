"""Reading an ONNX graph without the onnx package."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from network_fixtures import made_network
from onnx import helper, numpy_helper

from embedded_vit.artifact.onnx_graph import read_graph
from embedded_vit.export.exporting import onnx_graph
from embedded_vit.models.registry import NetworkConfig
from embedded_vit.preprocessing import Preprocessing


def test_it_reads_what_the_onnx_package_reads() -> None:
    network = made_network(NetworkConfig(name="small", image_size=32, widths=(8, 16), classes=4))
    content = onnx_graph(network, Preprocessing.for_modality("CT", image_size=32))
    graph, expected = read_graph(content), onnx.load_from_string(content).graph
    assert (graph.input, graph.output, graph.input_shape) == ("image", "logits", (1, 1, 32, 32))
    assert [(node.operator, *node.inputs, *node.outputs) for node in graph.nodes] == [
        (node.op_type, *node.input, *node.output) for node in expected.node
    ]
    assert graph.weights.keys() == {tensor.name for tensor in expected.initializer}
    for tensor in expected.initializer:
        np.testing.assert_array_equal(graph.weights[tensor.name], numpy_helper.to_array(tensor))
    for node, other in zip(graph.nodes, expected.node, strict=True):
        for attribute in other.attribute:
            value = helper.get_attribute_value(attribute)
            value = value.decode() if isinstance(value, bytes) else tuple(value) if isinstance(value, list) else value
            assert node.attributes[attribute.name] == value


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    "values",
    [
        np.array([[1.5, -2, 3]], np.float32),
        np.array([7, -1, 2**40], np.int64),
        np.array([-128, 127], np.int8),
        np.array(300, np.int32),
    ],
)
def test_values_lie_in_bytes_or_in_a_field_of_their_type(values: np.ndarray, raw: bool) -> None:
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    data = values.tobytes() if raw else values.ravel().tolist()
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", 1, 2, 2])
    node = helper.make_node("Identity", ["image"], ["logits"])
    output = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 1, 2, 2])
    tensor = helper.make_tensor("weights", kind, values.shape, data, raw=raw)
    model = helper.make_model(helper.make_graph([node], "graph", [image], [output], [tensor]))
    graph = read_graph(model.SerializeToString())
    np.testing.assert_array_equal(graph.weights["weights"], values)
    assert graph.weights["weights"].dtype == values.dtype
    assert graph.input_shape == (1, 1, 2, 2)


def test_weights_of_a_type_that_no_artifact_has_are_refused() -> None:
    image, logits = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("image", "logits"))
    tensor = numpy_helper.from_array(np.array([1 + 2j], np.complex64), "weights")
    model = helper.make_model(helper.make_graph([], "graph", [image], [logits], [tensor]))
    with pytest.raises(ValueError, match="weights of type 14"):
        read_graph(model.SerializeToString())
