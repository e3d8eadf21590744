"""A finished build of a tiny network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from build_fixtures import write_tiny_plan

WritePlan = Callable[..., Path]


@pytest.fixture(scope="session")
def write_plan() -> WritePlan:
    return write_tiny_plan


@pytest.fixture(scope="session")
def built(nnunet_folder: Path, write_plan: WritePlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished build of four phantoms."""
    from embedded_vit.build.building import build

    output = write_plan(nnunet_folder, tmp_path_factory.mktemp("built") / "out")
    build(nnunet_folder, output, threads=1)
    return output
