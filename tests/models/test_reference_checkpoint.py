"""The published networks: the authors' tensors in, their logits out, in both forms."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from embedded_vit.costs.complexity import complexity
from embedded_vit.errors import CheckpointError
from embedded_vit.models.published_form import PublishedForm
from embedded_vit.models.reference_checkpoint import load_reference, read_reference_file, to_reference
from embedded_vit.models.registry import NETWORKS, build_network, network_config


@pytest.fixture(scope="module")
def parity_folder(shared_folder: Path) -> Path:
    return shared_folder / "parity"


@pytest.fixture(scope="module")
def reference(parity_folder: Path) -> dict:
    return json.loads((parity_folder / "reference.json").read_text())


def fill(name: str, shape: list[int]) -> torch.Tensor:
    """Fill parameters by the formula of the design."""
    values = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF).standard_normal(shape)
    if name.endswith("temperature") or ("norm" in name.split(".")[-2] and name.endswith("weight")):
        values = 1 + 0.1 * values
    elif name.endswith("bias"):
        values = 0.05 * values
    else:
        values = values / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(values, np.float32))


def small_state_dict(name: str = "embedded-vit-64") -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    config = network_config(name, classes=9)
    return to_reference(build_network(config), stages=len(config.widths))


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_of_both_forms_agree_with_the_published_network(name, reference, parity_folder):
    facts, stored = reference[name], np.load(parity_folder / f"{name}.npz")
    live = {key: fill(key, facts["state_dict"][key]) for key in facts["live"]}
    dead = {key: torch.zeros(shape) for key, shape in facts["state_dict"].items() if key not in live}
    size, stride = facts["image_size"], int(stored["stride"])
    image = np.random.RandomState(zlib.crc32(b"input")).uniform(-1, 1, (1, 1, size, size)).astype(np.float32)
    network = load_reference(name, live | dead).eval()
    expected = stored["logits"]
    with torch.inference_mode():
        for form in (network, PublishedForm(live)):
            logits = form(torch.from_numpy(image)).numpy()[0, :, ::stride, ::stride]
            assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_and_operations_agree_with_the_published_network(name, reference):
    facts, costs = reference[name], complexity(network_config(name, classes=9))
    assert costs.parameters == facts["live_parameters"]
    assert costs.published_parameters == facts["parameters"]
    assert costs.naive_macs == facts["macs"]


@pytest.mark.parametrize("name", ["embedded-vit-64", "embedded-vit-64-dense"])
def test_folded_form_equals_naive_form_without_shared_data(name):
    state_dict = small_state_dict(name)
    image = torch.rand(2, 1, 64, 64) * 2 - 1
    with torch.inference_mode():
        folded, naive = load_reference(name, state_dict).eval()(image), PublishedForm(state_dict)(image)
    torch.testing.assert_close(folded, naive, rtol=0, atol=1e-5 * naive.abs().max().item())


def test_gradients_of_the_folded_form_equal_those_of_the_naive_form():
    state_dict = small_state_dict()
    network = load_reference("embedded-vit-64", state_dict)
    image = torch.rand(2, 1, 64, 64) * 2 - 1
    network(image).square().mean().backward()
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in state_dict.items()}
    PublishedForm(leaves)(image).square().mean().backward()
    for name, gradient in to_reference_gradients(network).items():
        expected = leaves[name].grad
        torch.testing.assert_close(gradient, expected, rtol=0, atol=2e-4 * float(expected.abs().max() + 1e-3))


def to_reference_gradients(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    for parameter in network.parameters():
        parameter.data = parameter.grad
    return to_reference(network, stages=2)


def test_three_stages_map_to_the_names_of_dae_former():
    config = network_config(image_size=32, widths=(16, 24, 32), classes=3)
    network = build_network(config).eval()
    state_dict = to_reference(network, stages=3)
    image = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), PublishedForm(state_dict)(image), rtol=0, atol=2e-5)


@pytest.mark.parametrize("wrap", ["module", "state_dict"])
def test_prefix_and_nesting_of_data_parallel_checkpoints_are_understood(wrap):
    state_dict = small_state_dict()
    prefixed = {f"module.{name}": tensor for name, tensor in state_dict.items()}
    wrapped = prefixed if wrap == "module" else {"state_dict": state_dict}
    loaded = load_reference("embedded-vit-64", wrapped)
    assert torch.equal(loaded.head.weight, state_dict["decoder_1.last_layer.weight"][..., 0, 0])


def test_the_number_of_classes_comes_from_the_checkpoint():
    config = network_config("embedded-vit-64", classes=4)
    state_dict = to_reference(build_network(config), stages=2)
    assert load_reference("embedded-vit-64", state_dict).head.out_features == 4


def test_a_missing_tensor_is_named():
    state_dict = small_state_dict()
    del state_dict["backbone.norm1.weight"]
    with pytest.raises(CheckpointError, match=r"backbone\.norm1\.weight is missing"):
        load_reference("embedded-vit-64", state_dict)


def test_an_unknown_tensor_is_named():
    with pytest.raises(CheckpointError, match=r"backbone\.surprise"):
        load_reference("embedded-vit-64", small_state_dict() | {"backbone.surprise": torch.zeros(1)})


def test_a_checkpoint_of_another_network_is_refused_with_tensor_and_shapes():
    with pytest.raises(CheckpointError, match=r"patch_embed1.*shape \(32, 3, 7, 7\), expected \(64, 3, 7, 7\)"):
        load_reference("embedded-vit-128", small_state_dict())


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (print, ("ran",))

    path = tmp_path / "harmful.pth"
    torch.save({"weights": Harmful()}, path)
    with pytest.raises(CheckpointError, match=r"harmful\.pth"):
        read_reference_file(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_a_damaged_file_gives_one_line(tmp_path, content):
    path = tmp_path / "damaged.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_reference_file(path)
    assert "\n" not in str(caught.value)
