"""A run folder becomes an artifact that computes what PyTorch computes, or no file at all."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from network_fixtures import made_network, made_run
from torch import nn

import embedded_vit.export.exporting as export_module
from embedded_vit.datasets import open_data_set
from embedded_vit.engines import load, open_network
from embedded_vit.errors import ContractError, DataSetError, NetworkError, OutputError
from embedded_vit.export.exporting import ExportReport, export, model_name, onnx_graph
from embedded_vit.labels import SYNAPSE_LABELS
from embedded_vit.models.registry import network_config
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.checkpoint import read_record


class PlainConvolution(nn.Module):
    """A user's own network."""

    def __init__(self, in_channels: int, classes: int, image_size: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, classes, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.convolution(image)


@pytest.fixture(scope="module")
def report_64(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """embedded-vit-64 with random weights, exported once for all tests."""
    folder = tmp_path_factory.mktemp("export")
    return export(made_run(folder / "run", network_config("embedded-vit-64", classes=9)), folder / "model.onnx")


def test_the_artifact_computes_what_pytorch_computes(report_64: ExportReport) -> None:
    assert report_64.agreement.max_logit_difference < 1e-4
    assert report_64.agreement.label_disagreement == 0
    assert report_64.agreement.images == 16
    assert "synthetic" in report_64.checked_on
    network = made_network(network_config("embedded-vit-64", classes=9))
    image_bchw = np.random.default_rng(1).uniform(-1, 1, (2, 1, 64, 64)).astype(np.float32)
    logits = load(report_64.path, threads=1).run(image_bchw)
    assert logits.std() > 0.1
    np.testing.assert_allclose(logits, open_network(network).run(image_bchw), atol=1e-4)


def test_test_vectors_are_refused_before_any_work(report_64: ExportReport, tmp_path: Path) -> None:
    run, model = report_64.path.parent / "run", tmp_path / "model.onnx"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    with pytest.raises(OutputError, match="not an empty folder"):
        export(run, model, test_vectors=tmp_path / "full")
    with pytest.raises(DataSetError, match="no data set, and test vectors need a case; give --data"):
        export(run, model, test_vectors=tmp_path / "vectors")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_the_manifest_says_where_the_network_comes_from_without_case_names(report_64: ExportReport) -> None:
    manifest = load(report_64.path, threads=1).manifest
    assert manifest == report_64.manifest
    assert manifest.name.endswith("-run")  # after the data and the run folder; see below
    assert manifest.network["name"] == "embedded-vit-64"
    assert manifest.network["widths"] == [32, 80]
    assert manifest.labels == SYNAPSE_LABELS
    assert manifest.metrics == {"validation_dice": 0.25}
    assert manifest.split["train"] == (hashlib.sha256(b"case0001").hexdigest(),)
    content = report_64.path.read_bytes()
    assert b"case0001" not in content
    assert os.fsencode(Path.cwd()) not in content  # stack traces of the exporting computer


def test_no_tensor_has_more_than_four_dimensions(report_64: ExportReport) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(report_64.path), strict_mode=True, data_prop=True)
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in model.graph.value_info}
    computed = {name for node in model.graph.node for name in node.output} - {"logits"}
    assert computed <= ranks.keys()  # inference reached every tensor
    assert max(ranks.values()) == 4
    assert all(len(tensor.dims) <= 4 for tensor in model.graph.initializer)


def test_everything_constant_is_folded(report_64: ExportReport) -> None:
    model = onnx.load(report_64.path)
    constant = {tensor.name for tensor in model.graph.initializer}
    constant |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    foldable = [node.name for node in model.graph.node if node.input and set(node.input) <= constant]
    assert foldable == []
    stem = next(node for node in model.graph.node if node.op_type == "Conv")
    kernel = next(tensor for tensor in model.graph.initializer if tensor.name == stem.input[1])
    assert list(kernel.dims) == [32, 1, 7, 7]  # one grey channel through the sum of the kernels of three


def test_convolutions_around_the_transformer_lose_their_batch_norms(tmp_path: Path) -> None:
    network = network_config(image_size=32, widths=(16, 24), convolution_widths=(6, 10), classes=9)
    report = export(made_run(tmp_path / "run", network), tmp_path / "model.onnx")
    assert report.agreement.max_logit_difference < 1e-4
    model = onnx.load(report.path)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    stem = next(node for node in model.graph.node if node.op_type == "Conv")
    kernel = next(tensor for tensor in model.graph.initializer if tensor.name == stem.input[1])
    assert list(kernel.dims) == [6, 1, 3, 3]


def test_an_existing_file_is_not_written_over(report_64: ExportReport, tmp_path: Path) -> None:
    before = report_64.path.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        export(report_64.path.parent / "run", report_64.path)
    assert report_64.path.read_bytes() == before


def own_network(tmp_path: Path) -> Path:
    config = network_config(None, classes=9, in_channels=3, image_size=16, model=f"{__name__}:PlainConvolution")
    return made_run(tmp_path / "run", config, context_slices=3)


def test_a_users_own_network_is_exported_the_same_way(tmp_path: Path) -> None:
    report = export(own_network(tmp_path), tmp_path / "model.onnx", dynamic_batch=True)
    image_bchw = np.random.default_rng(1).uniform(-1, 1, (5, 3, 16, 16)).astype(np.float32)
    engine = load(report.path, threads=1)
    assert engine.run(image_bchw).shape == (5, 9, 16, 16)
    shape = onnx.load(report.path).graph.input[0].type.tensor_type.shape
    assert not shape.dim[0].dim_value


def test_exporting_twice_gives_the_same_graph(tmp_path: Path) -> None:
    run = own_network(tmp_path)
    digests = {export(run, tmp_path / f"{number}.onnx").manifest.graph_sha256 for number in range(2)}
    assert len(digests) == 1


def test_an_artifact_that_computes_something_else_is_refused_and_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_graph(network: PlainConvolution, preprocessing: Preprocessing, *, dynamic_batch: bool) -> bytes:
        with torch.no_grad():
            network.convolution.bias[3] += 0.01
            graph = onnx_graph(network, preprocessing)
            network.convolution.bias[3] -= 0.01
        return graph

    run = own_network(tmp_path)
    monkeypatch.setattr(export_module, "onnx_graph", other_graph)
    with pytest.raises(ContractError, match=r"logits differ by 0\.01, at most 0\.001 is allowed; nothing was written"):
        export(run, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_real_slices_are_checked_and_their_spacing_becomes_the_contract(tmp_path: Path, decathlon_folder: Path) -> None:
    data_set = open_data_set(decathlon_folder)
    train, *_, test = (case.name for case in data_set.cases)
    spacing_mm = data_set.read_volume(data_set.case(train)).reoriented().spacing_mm
    config = network_config(None, classes=9, in_channels=1, image_size=16, model=f"{__name__}:PlainConvolution")
    run = made_run(tmp_path / "run", config, data_folder=decathlon_folder, train=(train,), test=(test,))
    report = export(run, tmp_path / "model.onnx")
    assert report.checked_on == f"real slices of {decathlon_folder}"
    assert report.agreement.images >= 16
    spacing_range = report.manifest.spacing_range
    assert spacing_range is not None
    assert spacing_range.slices_mm == pytest.approx((spacing_mm[0] / 1.5, spacing_mm[0] * 1.5))
    assert spacing_range.in_plane_mm == pytest.approx((spacing_mm[1] / 1.5, spacing_mm[1] * 1.5))


def test_data_without_spacing_promise_none(tmp_path: Path, synapse_folder: Path) -> None:
    report = export(own_network(tmp_path), tmp_path / "model.onnx", data_folder=synapse_folder)
    assert report.checked_on == f"real slices of {synapse_folder}"
    assert report.manifest.spacing_range is None


class DataDependent(PlainConvolution):
    """Takes a branch by the values it sees, which no graph can."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.convolution(image if image.sum() > 0 else -image)


def test_a_network_that_onnx_cannot_express_is_one_line() -> None:
    with pytest.raises(NetworkError, match="cannot be exported") as caught:
        onnx_graph(DataDependent(1, 2, 16), Preprocessing.for_modality("CT", image_size=16))
    assert "\n" not in str(caught.value)


OPENVINO_RUN = """
import sys
import numpy as np, openvino, onnxruntime
path, size = sys.argv[1], int(sys.argv[2])
image = np.random.default_rng(0).uniform(-1, 1, (1, 1, size, size)).astype(np.float32)
expected = onnxruntime.InferenceSession(path).run(None, {"image": image})[0]
compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
logits = compiled(image)[0]
print(np.abs(logits - expected).max(), (logits.argmax(1) != expected.argmax(1)).mean(), expected.std())
"""


@pytest.mark.parametrize("name", ["embedded-vit-64", pytest.param("embedded-vit-128", marks=pytest.mark.slow)])
def test_openvino_compiles_it_and_agrees_in_float32(name: str, report_64: ExportReport, tmp_path: Path) -> None:
    """In a subprocess: OpenVINO 2026.4 dies of a segmentation fault where attention ends in `queries @ context`."""
    pytest.importorskip("openvino")
    path, size = report_64.path, int(name.rsplit("-", 1)[1])
    if size != 64:
        path = tmp_path / "model.onnx"
        network = made_network(network_config(name, classes=9))
        path.write_bytes(onnx_graph(network, Preprocessing.for_modality("CT", image_size=size)))
    done = subprocess.run(
        [sys.executable, "-c", OPENVINO_RUN, str(path), str(size)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
    difference, disagreement, spread = map(float, done.stdout.split())
    assert difference < 1e-3
    assert disagreement <= 1e-4
    assert spread > 0.1


def test_a_model_is_named_after_its_data_and_its_run(nnunet_folder: Path, tmp_path: Path) -> None:
    run = made_run(tmp_path / "Liver, 3rd try", network_config(image_size=32, family="unet", widths=(8, 16), classes=9))
    data_set, record = open_data_set(nnunet_folder), read_record(run)
    here = record.model_copy(update={"data_folder": str(nnunet_folder)})
    assert model_name(here, data_set, run) == "phantom-liver-3rd-try"  # the name in dataset.json
    gone = record.model_copy(update={"data_folder": "/clinic/Task03 Spleen"})
    assert model_name(gone, None, run) == "task03-spleen-liver-3rd-try"
    assert model_name(gone, data_set, run) == "task03-spleen-liver-3rd-try"
    assert len(model_name(gone, None, tmp_path / ("x" * 200))) == 64
    asked = export(run, tmp_path / "model.onnx", name="spleen")
    assert load(asked.path, threads=1).manifest.name == "spleen"
