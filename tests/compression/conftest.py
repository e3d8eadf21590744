"""A small trained run that compression steps start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.training import train


@pytest.fixture(scope="session")
def trained_run(synapse_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Widths 16 and 32 at 32 pixels, trained on three phantoms with one to validate; it finds structures."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(
        synapse_folder,
        folder,
        architecture={"image_size": 32, "family": "hybrid", "widths": (16, 32), "depth": 1},
        training=TrainingConfig.for_recipe("modern", batch_size=8, epochs=30, learning_rate=5e-3),
        validation_cases=1,
        threads=1,
    )
    return folder
