"""What a module of tests of the node shares: an archive that counts, and a model file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from node_fixtures import Archive, write_model


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    """An archive."""
    made = Archive()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file, which a test may replace."""
    return write_model(tmp_path_factory.mktemp("model") / "model.onnx")
