"""A bench for short trainings, made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_bench import Workbench


@pytest.fixture(scope="session")
def bench(synapse_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return Workbench(synapse_folder, tmp_path_factory.mktemp("slices"))
