"""Short trainings on phantoms, for tests of runs and steppers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import DataSet, make_split
from embedded_vit.training.checkpoint import load_checkpoint
from embedded_vit.training.loop import Trainer
from embedded_vit.training.run import open_run
from embedded_vit.training.settings import RunConfig, TrainingConfig
from embedded_vit.training.slices import SliceSet, prepare_slices
from embedded_vit.training.training import plan

TOKENS = {"image_size": 32, "widths": (8, 16)}
CONVOLUTIONS = {**TOKENS, "depth": 1, "convolution_widths": (4, 8)}
HYBRID = {"image_size": 64, "family": "hybrid", "widths": (8, 16, 16), "depth": 1, "stem_stride": 2}


class Workbench:
    """A phantom data set whose slices are prepared once a size."""

    def __init__(self, data_folder: Path, folder: Path) -> None:
        self.data_set: DataSet = open_data_set(data_folder)
        self.split = make_split(self.data_set, seed=0, validation_cases=0)
        self.folder = folder

    def planned(
        self, architecture: dict[str, Any] = CONVOLUTIONS, *, context_slices: int = 3, **training: Any
    ) -> RunConfig:
        settings = TrainingConfig.for_recipe("modern", **{"batch_size": 8, "epochs": 2, **training})
        return plan(
            self.data_set, network=None, architecture=architecture, training=settings, context_slices=context_slices
        )

    def slices(self, config: RunConfig) -> SliceSet:
        folder = self.folder / f"slices-{config.preprocessing.image_size}"
        return prepare_slices(self.data_set, sorted(self.split.train), config.preprocessing, folder)

    def trained(self, config: RunConfig, folder: Path, **options: Any) -> tuple[dict[str, Tensor], list[float]]:
        """Weights by name, and the losses of the epochs; `options` as `open_run` takes them."""
        losses = [epoch.loss for epoch in self.opened(config, folder, **options).run().epochs]
        return load_checkpoint(folder).network.state_dict(), losses

    def opened(self, config: RunConfig, folder: Path, **options: Any) -> Trainer:
        """A run, started or resumed; `options` as `open_run` takes them."""
        return open_run(*(folder, config, self.slices(config), self.split), data_folder=self.data_set.folder, **options)
