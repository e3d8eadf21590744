"""What a network takes over from another one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from network_fixtures import made_run

from embedded_vit.models.registry import NetworkConfig, build_network
from embedded_vit.search.inheritance import inherit, likeness, tensor_shapes
from embedded_vit.training.checkpoint import load_checkpoint


def network(**architecture) -> NetworkConfig:
    return NetworkConfig(**{"image_size": 32, "widths": (16, 32), "classes": 9, **architecture})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("runs") / "run", network())


def test_a_network_of_one_shape_takes_everything_and_computes_the_same(run: Path) -> None:
    heir = build_network(network(image_size=64)).eval()
    assert inherit(heir.state_dict(), run) == 1.0
    image = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.equal(heir(image), load_checkpoint(run).network(image))


@pytest.mark.parametrize("widths", [(24, 40), (8, 24), (24, 24)])
def test_wider_and_narrower_networks_take_the_first_channels_and_keep_the_rest(
    run: Path, widths: tuple[int, int]
) -> None:
    heir = build_network(network(widths=widths))
    fresh = {name: tensor.clone() for name, tensor in heir.state_dict().items()}
    weights = load_checkpoint(run).network.state_dict()
    part = inherit(heir.state_dict(), run)
    copied = 0
    for name, tensor in heir.state_dict().items():
        place = tuple(slice(min(sizes)) for sizes in zip(tensor.shape, weights[name].shape, strict=True))
        assert torch.equal(tensor[place], weights[name][place])
        rest = torch.ones_like(tensor, dtype=torch.bool)
        rest[place] = False
        assert torch.equal(tensor[rest], fresh[name][rest])
        copied += int((~rest).sum())
    assert part == pytest.approx(copied / sum(tensor.numel() for tensor in fresh.values()))


def test_deeper_networks_keep_their_further_blocks_fresh(run: Path) -> None:
    heir = build_network(network(depth=2))
    assert 0.4 < inherit(heir.state_dict(), run) < 1


def test_a_network_between_convolutions_takes_over_the_transformer_alone(run: Path) -> None:
    heir = build_network(network(convolution_widths=(4, 8)))
    head = heir.head.weight.clone()
    assert 0.3 < inherit(heir.state_dict(), run) < 1
    assert torch.equal(heir.head.weight, head)  # a convolution's, not a linear layer's


def test_likeness_is_one_for_equal_shapes_and_falls_with_distance(run: Path) -> None:
    shapes = tensor_shapes(run)
    nearer, further = (
        {name: tensor.shape for name, tensor in build_network(network(widths=widths)).state_dict().items()}
        for widths in ((16, 40), (64, 160))
    )
    assert likeness(shapes, shapes) == 1.0
    assert 1 > likeness(nearer, shapes) > likeness(further, shapes) > 0
    assert likeness({"a": (2, 4)}, {"a": (4, 2), "b": (4,)}) == 4 / (8 + 12 - 4)
    assert likeness({"a": (2, 4)}, {"a": (2, 4, 1, 1)}) == 0
