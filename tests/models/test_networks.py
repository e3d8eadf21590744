"""What every network must do, whatever its architecture."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from embedded_vit.errors import ConfigError, NetworkError
from embedded_vit.layers.convolutions import without_batch_norms
from embedded_vit.models import registry
from embedded_vit.models.embedded_vit import EmbeddedViT
from embedded_vit.models.own_class import read_options
from embedded_vit.models.registry import (
    FAMILY,
    MOST_PARAMETERS,
    PRESETS,
    build_network,
    most_parameters,
    network_config,
    source_changed,
)

SMALL = {"widths": (16, 24), "depth": 1}
CONVOLUTIONS = {**SMALL, "convolution_widths": (6, 10)}
BOTH_KINDS = pytest.mark.parametrize("architecture", [SMALL, CONVOLUTIONS], ids=["tokens", "convolutions"])


class OwnNetwork(nn.Module):
    """A user's own network."""

    def __init__(self, in_channels: int, classes: int, image_size: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, classes, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layer(image)


@pytest.mark.parametrize("widths", [(16, 24), (16, 24, 32)])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("mixing", ["depthwise", "dense"])
@pytest.mark.parametrize("around", [(), (6, 10)])
def test_logits_have_the_size_of_the_image(widths, depth, mixing, around):
    network = EmbeddedViT(widths, depth=depth, mixing=mixing, convolution_widths=around, in_channels=3, classes=5)
    assert network(torch.zeros(2, 1, 48, 48)).shape == (2, 5, 48, 48)


@pytest.mark.parametrize("size", [16, 64, 72])
def test_any_multiple_of_eight_is_a_size(size):
    assert EmbeddedViT(**SMALL)(torch.zeros(1, 3, size, size)).shape[-2:] == (size, size)


@pytest.mark.parametrize(("size", "next_sizes"), [(100, "96 or 104"), (4, "8 or 16"), (0, "8 or 16")])
def test_a_size_that_does_not_divide_is_refused_with_the_next_ones(size, next_sizes):
    with pytest.raises(NetworkError, match=next_sizes):
        network_config(image_size=size, classes=9, **SMALL)


def test_an_image_that_is_not_square_is_refused():
    with pytest.raises(NetworkError, match="64 x 32"):
        EmbeddedViT(**SMALL)(torch.zeros(1, 1, 64, 32))


@BOTH_KINDS
def test_one_grey_channel_equals_three_copies_of_it(architecture):
    network, image = EmbeddedViT(**architecture).eval(), torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), network(image.repeat(1, 3, 1, 1)), rtol=1e-4, atol=1e-5)


def test_another_number_of_channels_is_refused():
    with pytest.raises(NetworkError, match="4 channels"):
        EmbeddedViT(**SMALL)(torch.zeros(1, 4, 32, 32))


def test_four_channels_and_their_context_are_taken():
    network = EmbeddedViT(**SMALL, in_channels=12, classes=4)
    assert network(torch.zeros(1, 12, 32, 32)).shape == (1, 4, 32, 32)


@BOTH_KINDS
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_gradients_stay_finite_on_a_constant_image(value, architecture):
    network = EmbeddedViT(**architecture)
    network(torch.full((2, 1, 32, 32), value)).square().sum().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in network.parameters())


@BOTH_KINDS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_agrees_with_full_precision(dtype, architecture):
    torch.manual_seed(0)
    network, image = EmbeddedViT(**architecture).eval(), torch.rand(1, 1, 32, 32) * 2 - 1
    with torch.inference_mode():
        full = network(image)
        with torch.autocast("cpu", dtype):
            half = network(image).float()
    assert half.isfinite().all()
    assert (half - full).abs().max() < 0.05 * full.abs().max()


def test_channel_attention_does_not_overflow_in_half_precision():
    network, image = EmbeddedViT(**SMALL).eval(), torch.rand(1, 1, 256, 256)
    with torch.inference_mode(), torch.autocast("cpu", torch.float16):
        assert network(100 * image).isfinite().all()


def test_decoder_begins_with_xavier_weights_and_zero_biases():
    network = EmbeddedViT(**SMALL)
    linear = network.decoder[0].blocks[0].feed_forward1.fc1
    bound = (6 / (linear.in_features + linear.out_features)) ** 0.5
    assert linear.weight.abs().max() <= bound
    assert linear.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert not linear.bias.any()
    assert network.encoder[0].blocks[0].feed_forward1.fc1.bias.any()


def test_an_architecture_overrides_a_preset():
    config = network_config("embedded-vit-64", classes=9, image_size=224, depth=2)
    assert (config.image_size, config.widths, config.depth) == (224, (32, 80), 2)


def test_our_family_grows_in_tokens_alone():
    family = [network_config(name, classes=9) for name in FAMILY]
    assert [config.image_size for config in family] == [64, 128, 192]
    states = [build_network(config).state_dict() for config in family]
    for state in states[1:]:  # so that a training may go on from a smaller one's weights
        assert {name: tensor.shape for name, tensor in state.items()} == {
            name: tensor.shape for name, tensor in states[0].items()
        }


def test_a_network_without_its_batch_norms_computes_the_same():
    torch.manual_seed(0)
    network = EmbeddedViT(**CONVOLUTIONS)
    network(torch.rand(8, 3, 32, 32) * 2 - 1)  # statistics that are not 0 and 1
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.inference_mode():
        expected = network.eval()(image)
        folded = without_batch_norms(network.train())
        torch.testing.assert_close(folded(image), expected, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert network.training  # it is a copy
    assert isinstance(network.down[0].norm1, nn.BatchNorm2d)


@pytest.mark.parametrize("widths", [(12,), (12, 24, 48), (0, 8)])
def test_convolutions_stand_at_two_resolutions_or_at_none(widths):
    with pytest.raises(NetworkError, match="expected none or two positive numbers"):
        EmbeddedViT(**SMALL, convolution_widths=widths)
    with pytest.raises(NetworkError, match="convolution widths"):
        network_config(image_size=64, classes=9, **SMALL, convolution_widths=widths)


def test_a_misspelt_network_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="did you mean 'embedded-vit-128'"):
        network_config("embeded-vit-128", classes=9)


def test_widths_that_eight_heads_cannot_share_are_refused():
    with pytest.raises(NetworkError, match=r"\(32, 81\)"):
        build_network(network_config(image_size=64, widths=(32, 81), classes=9))


def test_a_users_own_class_is_built():
    config = network_config(model=f"{__name__}:OwnNetwork", image_size=40, classes=4, in_channels=1)
    assert build_network(config)(torch.zeros(1, 1, 40, 40)).shape == (1, 4, 40, 40)


def test_options_reach_a_users_own_class_and_others_are_refused():
    config = network_config(model="other_networks:UNet", options={"width": 8}, image_size=32, classes=4, in_channels=1)
    assert next(build_network(config).parameters()).shape[0] == 8
    wrong = config.model_copy(update={"options": {"depth": 2}})
    with pytest.raises(NetworkError, match=r"other_networks:UNet: cannot be called with .*depth"):
        build_network(wrong)
    with pytest.raises(ConfigError, match="give --model too"):
        network_config("embedded-vit-64", options={"width": 8}, classes=4)


def test_options_are_read_as_numbers_where_they_are():
    words = ["width=32", "ratio=0.5", "gated=true", "norm=batch"]
    assert read_options(words) == {"width": 32, "ratio": 0.5, "gated": True, "norm": "batch"}
    with pytest.raises(ConfigError, match="expected name=value"):
        read_options(["width"])


def test_a_class_whose_source_changed_is_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "changing.py").write_text("from torch import nn\n\n\nclass Network(nn.Module):\n    pass\n")
    config = network_config(model="changing:Network", image_size=32, classes=4)
    assert config.model_sha256 is not None
    assert not source_changed(config)
    with (tmp_path / "changing.py").open("a") as file:
        file.write("# other\n")
    assert source_changed(config)


@pytest.mark.parametrize("path", ["no_such_module:Network", "json:loads", "json", f"{__name__}:Missing"])
def test_what_is_no_network_class_is_refused_in_one_line(path):
    config = network_config(model=path, image_size=40, classes=4)
    with pytest.raises(NetworkError, match="--model"):
        build_network(config)


ODD = {
    "deep": {"image_size": 64, "widths": (8, 16), "depth": 9, "hidden_ratio": 1},
    "dense": {"image_size": 64, "widths": (16, 24, 32), "depth": 2, "mixing": "dense", "hidden_ratio": 8},
    "shallow hybrid": {"image_size": 64, "family": "hybrid", "widths": (8, 8), "depth": 0, "hidden_ratio": 1},
    "many classes": {"image_size": 64, "family": "unet", "widths": (4, 4, 8)},
}


@pytest.mark.parametrize("name", [*PRESETS, *ODD])
def test_a_network_has_fewer_parameters_than_are_predicted(name):
    architecture = {"name": name} if name in PRESETS else ODD[name]
    config = network_config(**architecture, classes=200 if name == "many classes" else 9)
    with torch.device("meta"):
        parameters = sum(each.numel() for each in registry._fresh(config).parameters())
    assert 0 < parameters < most_parameters(config)


def test_only_a_large_network_is_made_twice(monkeypatch):
    made, fresh = [], registry._fresh
    monkeypatch.setattr(registry, "_fresh", lambda config: made.append(config) or fresh(config))
    build_network(network_config("hybrid-s", classes=9))
    assert len(made) == 1
    large = network_config(image_size=64, widths=(8192, 8192), depth=2, classes=9)
    assert most_parameters(large) > MOST_PARAMETERS
    with pytest.raises(NetworkError, match="parameters; at most 1,073,741,824 are expected"):
        build_network(large)
    assert len(made) == 2
