"""ONNX files are read without the onnx package; here the package says whether that is right."""

from __future__ import annotations

import onnx
import pytest
from artifact_fixtures import threshold_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from embedded_vit.artifact.onnx_file import check_self_contained, fields_of, graph_digest, metadata_of, with_metadata
from embedded_vit.errors import FileFormatError

METADATA = st.dictionaries(st.text(max_size=20), st.text(max_size=300), max_size=5)


@settings(max_examples=50, deadline=None)
@given(metadata=METADATA)
def test_metadata_comes_back_and_the_onnx_package_agrees(metadata: dict[str, str]) -> None:
    content = with_metadata(threshold_graph().SerializeToString(), metadata)
    assert metadata_of(content) == metadata
    assert {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props} == metadata


def test_new_metadata_takes_the_place_of_the_old() -> None:
    content = with_metadata(with_metadata(threshold_graph().SerializeToString(), {"a": "1"}), {"b": "2"})
    assert metadata_of(content) == {"b": "2"}


@settings(max_examples=50, deadline=None)
@given(metadata=METADATA)
def test_the_digest_does_not_depend_on_metadata(metadata: dict[str, str]) -> None:
    plain = threshold_graph().SerializeToString()
    assert graph_digest(with_metadata(plain, metadata)) == graph_digest(plain)


def test_the_digest_changes_with_any_weight_and_with_the_operator_version() -> None:
    model = threshold_graph()
    before = graph_digest(model.SerializeToString())
    model.graph.initializer[0].float_data[0] = -1.0000001
    other_weight = graph_digest(model.SerializeToString())
    model.opset_import[0].version = 17
    assert len({before, other_weight, graph_digest(model.SerializeToString())}) == 3


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_either_fields_that_cover_them_or_an_error(content: bytes) -> None:
    try:
        records = [bytes(field.record) for field in fields_of(memoryview(content))]
    except ValueError:
        return
    assert b"".join(records) == content


def test_a_plain_graph_is_self_contained() -> None:
    check_self_contained(threshold_graph().SerializeToString(), "model.onnx")


def external_weights() -> onnx.ModelProto:
    model = threshold_graph()
    tensor = model.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return model


def external_constant() -> onnx.ModelProto:
    model = threshold_graph()
    tensor = helper.make_tensor("value", TensorProto.FLOAT, [1], [1.0])
    tensor.external_data.add(key="location", value="weights.bin")
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=tensor))
    return model


def external_weights_in_a_branch() -> onnx.ModelProto:
    model = threshold_graph()
    branch = helper.make_graph([], "branch", [], [], [external_weights().graph.initializer[0]])
    model.graph.node.append(helper.make_node("If", ["flag"], ["unused"], then_branch=branch))
    return model


def custom_operator() -> onnx.ModelProto:
    model = threshold_graph()
    model.graph.node[0].domain = "com.example"
    return model


def custom_operator_set() -> onnx.ModelProto:
    model = threshold_graph()
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    return model


def local_function() -> onnx.ModelProto:
    return threshold_graph(functions=[helper.make_function("local", "f", [], [], [], [helper.make_opsetid("", 18)])])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (external_weights, "another file"),
        (external_constant, "another file"),
        (external_weights_in_a_branch, "another file"),
        (custom_operator, "outside the ONNX standard"),
        (custom_operator_set, "outside the ONNX standard"),
        (local_function, "functions"),
    ],
)
def test_what_reaches_outside_the_file_is_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(FileFormatError, match=message):
        check_self_contained(make().SerializeToString(), "model.onnx")
