"""Other people's networks, pruned, compute the same in every engine, or are refused by an operator's name."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from other_networks import Mixed, PlainViT, SwinUNet, UNet

from embedded_vit.engines import example_image, installed_engines, open_graph
from embedded_vit.errors import FileFormatError
from embedded_vit.export.exporting import onnx_graph
from embedded_vit.models.channels import channel_groups, keep_channels
from embedded_vit.models.traced import TracedNetwork
from embedded_vit.preprocessing import Preprocessing

SIZE = 32


@pytest.mark.parametrize("kind", [UNet, PlainViT, SwinUNet, Mixed])
def test_a_pruned_network_is_the_same_in_every_engine_or_refused_by_name(kind) -> None:
    torch.manual_seed(0)
    network = TracedNetwork.of(kind(in_channels=3, classes=4, image_size=SIZE), (3, SIZE, SIZE))
    groups = channel_groups(network).items()
    keep_channels(network, {name: range(max(group.least, group.width // 2)) for name, group in groups})
    preprocessing = Preprocessing.for_modality("CT", image_size=SIZE, context_slices=3)
    graph, image = onnx_graph(network, preprocessing), example_image(preprocessing)
    with torch.inference_mode():
        expected = network(torch.from_numpy(image)).numpy()
    for engine in installed_engines():
        try:
            logits = open_graph(graph, engine, threads=1, source="model.onnx").run(image)
        except FileFormatError as error:
            assert engine == "litert"
            assert re.search(r"operator [A-Z]\w+", str(error))  # noqa: PT017
        else:
            np.testing.assert_allclose(logits, expected, atol=1e-4)
