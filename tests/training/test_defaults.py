"""What a training does where nobody says it: from coarse to fine, and as it was begun where it is resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedded_vit.datasets import open_data_set
from embedded_vit.training.checkpoint import CONFIG
from embedded_vit.training.run import COARSE, begun_config
from embedded_vit.training.settings import RunConfig, TrainingConfig
from embedded_vit.training.training import _chosen, at_half_the_size, default_coarse, plan


def config_of(synapse_folder: Path, recipe: str = "modern", **architecture: object) -> RunConfig:
    described = {"image_size": 128, "widths": (16, 32)} | architecture
    training = TrainingConfig.for_recipe(recipe, epochs=7)
    return plan(open_data_set(synapse_folder), network=None, architecture=described, training=training)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 7),  # as many as at the full size
        ({"image_size": 64}, 0),  # not measured
        ({"image_size": 136}, 0),  # 68 pixels are not a multiple of 8
        ({"recipe": "paper"}, 0),  # published
        ({"family": "hybrid", "widths": (16, 32, 64, 128)}, 7),
    ],
)
def test_trainings_begin_at_half_the_size_where_that_was_measured(
    synapse_folder: Path, options: dict[str, object], expected: int
) -> None:
    assert default_coarse(config_of(synapse_folder, **options)) == expected  # type: ignore[arg-type]


def test_weights_to_start_from_are_not_trained_coarsely(synapse_folder: Path) -> None:
    config = config_of(synapse_folder)
    assert default_coarse(config.with_training(init="weights.pth")) == 0


@pytest.mark.parametrize("coarse", [0, 3])
def test_a_run_that_is_resumed_keeps_what_it_was_begun_with(synapse_folder: Path, tmp_path: Path, coarse: int) -> None:
    config = config_of(synapse_folder).with_training(coarse_epochs=coarse)
    asked = {"network": None, "architecture": {"image_size": 128, "widths": (16, 32)}, "training": config.training}
    folder, stage = (tmp_path / COARSE, at_half_the_size(config)) if coarse else (tmp_path, config)
    folder.mkdir(exist_ok=True)
    (folder / CONFIG).write_text(stage.model_dump_json())
    begun = begun_config(tmp_path)
    assert begun is not None
    data_set = open_data_set(synapse_folder)
    resumed = _chosen(data_set, begun, choose_coarse=True, context_slices=None, **asked)
    assert resumed == config
    fresh = _chosen(data_set, None, choose_coarse=True, context_slices=None, **asked)
    assert (fresh.training.coarse_epochs, fresh.preprocessing.context_slices) == (7, 3)
