"""The engine computes what the graph says, and refuses a graph that is not what its manifest says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from artifact_fixtures import threshold_graph

from embedded_vit.engines import load
from embedded_vit.errors import ConfigError, FileFormatError, NetworkError
from embedded_vit.labels import LabelSet
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.provenance import available_cores

MakeArtifact = Callable[..., Path]


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).uniform(-1, 1, (count, 1, 32, 32)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, "batch"])
@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_images_gives_their_logits(make_artifact: MakeArtifact, batch: int | str, count: int) -> None:
    engine = load(make_artifact(threshold_graph(batch=batch)), threads=1)
    image_bchw = images(count)
    logits = engine.run(image_bchw)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, np.concatenate([-image_bchw, image_bchw], axis=1))


def test_an_input_that_is_not_contiguous_or_not_float32_is_taken(make_artifact: MakeArtifact) -> None:
    engine = load(make_artifact(), threads=1)
    image_bchw = images(1)
    turned = image_bchw.astype(np.float64).swapaxes(2, 3)
    np.testing.assert_array_equal(engine.run(turned)[:, 1:], image_bchw.swapaxes(2, 3))


def test_an_input_of_another_shape_names_both(make_artifact: MakeArtifact) -> None:
    engine = load(make_artifact(), threads=1)
    with pytest.raises(NetworkError, match=r"\(1, 3, 32, 32\), expected \(batch, 1, 32, 32\)"):
        engine.run(np.zeros((1, 3, 32, 32), np.float32))


@pytest.mark.parametrize(
    ("fields", "role"),
    [
        ({"preprocessing": Preprocessing.for_modality("CT", image_size=64)}, "input"),
        ({"preprocessing": Preprocessing.for_modality("CT", image_size=32, context_slices=3)}, "input"),
        ({"labels": LabelSet.from_names(["one", "two"])}, "output"),
    ],
)
def test_a_manifest_that_contradicts_the_graph_is_refused(make_artifact: MakeArtifact, fields: dict, role: str) -> None:
    with pytest.raises(FileFormatError, match=f"the graph's {role} is .* its manifest says"):
        load(make_artifact(**fields))


def test_a_graph_with_two_outputs_is_refused(make_artifact: MakeArtifact) -> None:
    model = threshold_graph()
    model.graph.output.append(model.graph.input[0])
    model.graph.output[1].name = "negated"
    with pytest.raises(FileFormatError, match="2 outputs, expected one"):
        load(make_artifact(model))


def test_what_onnx_runtime_refuses_is_one_line_of_ours(
    make_artifact: MakeArtifact, capfd: pytest.CaptureFixture
) -> None:
    model = threshold_graph()
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(FileFormatError, match="ONNX Runtime cannot load it") as caught:
        load(make_artifact(model))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("threads", [0, -1])
def test_a_thread_count_below_one_is_refused(make_artifact: MakeArtifact, threads: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        load(make_artifact(), threads=threads)


def test_cores_are_those_that_the_process_may_use() -> None:
    assert available_cores() >= 1
