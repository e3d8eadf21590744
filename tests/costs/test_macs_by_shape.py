"""The count from shapes is PyTorch's own count."""

from __future__ import annotations

import pytest

from embedded_vit.costs.complexity import complexity
from embedded_vit.costs.macs_by_shape import macs_by_shape
from embedded_vit.models.channels import channel_groups
from embedded_vit.models.registry import build_network, network_config


@pytest.mark.parametrize(
    ("image_size", "input_channels", "part", "architecture"),
    [
        (64, 1, 1, {"widths": (32, 80)}),
        (64, 1, 3, {"widths": (32, 80)}),
        (32, 1, 3, {"widths": (64, 80), "mixing": "dense"}),  # fewer tokens than channels
        (48, 6, 3, {"widths": (16, 24, 32), "in_channels": 6}),
        (64, 3, 1, {"widths": (32, 80), "convolution_widths": (12, 24)}),
        (32, 1, 3, {"widths": (16, 24, 32), "convolution_widths": (6, 10)}),
    ],
    ids=["whole", "a third of all channels", "dense", "three stages, six channels", "convolutions", "a third of them"],
)
def test_shapes_count_what_pytorch_counts(image_size, input_channels, part, architecture):
    config = network_config(classes=5, image_size=image_size, **architecture)
    groups = channel_groups(build_network(config))
    kept = {name: max(1, group.width // part) for name, group in groups.items()}
    config = config.model_copy(update={"kept_channels": kept})
    shapes = {name: parameter.shape for name, parameter in build_network(config).named_parameters()}
    expected = complexity(config, input_channels=input_channels).macs
    assert macs_by_shape(shapes, image_size, input_channels=input_channels) == expected
