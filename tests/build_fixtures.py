"""The plan of a network so tiny that a whole build takes seconds."""

from __future__ import annotations

from pathlib import Path

from embedded_vit.datasets import open_data_set
from embedded_vit.models.registry import network_config
from embedded_vit.planning.build_plan import PLAN_FILE, BuildPlan
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.settings import TrainingConfig


def write_tiny_plan(
    data: Path, output: Path, *, minutes: float = 60.0, compression: str | None = None, **training
) -> Path:
    """Write the plan of a network of 8 to 16 channels at 64 pixels, and 32 before; return the build's folder."""
    data_set = open_data_set(data)
    network = network_config(
        *(None,),
        classes=data_set.labels.classes,
        in_channels=3 * len(data_set.channels),
        image_size=64,
        family="hybrid",
        widths=(8, 16, 16),
        depth=1,
        stem_stride=2,
    )
    settings = {"epochs": 2, "coarse_epochs": 1, "batch_size": 8, "cutmix": 0.0, **training}
    preprocessing = Preprocessing.for_modality(
        *(data_set.modality,), channels=data_set.channels, image_size=64, output_stride=2, context_slices=3
    )
    plan = BuildPlan(
        preprocessing=preprocessing,
        network=network,
        training=TrainingConfig.for_recipe("modern", **settings),
        compression=compression,
        minutes=minutes,
        reasons={"network": "the smallest that can be trained"},
    )
    plan.write(output / PLAN_FILE)
    return output
