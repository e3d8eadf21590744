"""The model file that the suites of all engines share."""

from __future__ import annotations

from pathlib import Path

import pytest
from network_fixtures import made_run

from embedded_vit.export.exporting import export
from embedded_vit.models.registry import NetworkConfig


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights, the same for every engine, for the organs of the phantoms."""
    folder = tmp_path_factory.mktemp("engines")
    network = NetworkConfig(name="small", image_size=32, family="hybrid", widths=(16, 32), depth=1, classes=9)
    return export(made_run(folder / "run", network, test=("case0005",)), folder / "model.onnx").path
