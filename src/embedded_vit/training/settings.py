"""The settings of a training, as the command line takes them and `config.json` keeps them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from embedded_vit.config import Config
from embedded_vit.contract import Contract
from embedded_vit.fingerprint import IntensityFingerprint
from embedded_vit.labels import LabelSet
from embedded_vit.models.registry import NetworkConfig
from embedded_vit.postprocessing import Postprocessing
from embedded_vit.preprocessing import Preprocessing

__all__ = ["Precision", "RecipeName", "RunConfig", "TrainingConfig"]

Precision = Literal["fp32", "bf16", "fp16"]
RecipeName = Literal["paper", "modern"]


class TrainingConfig(Config):
    """The settings of a training; the recipe gives those that are not set."""

    recipe: RecipeName = "modern"
    epochs: int = Field(default=150, ge=1)
    batch_size: int = Field(default=24, ge=1, description="slices per optimizer step, over all processes together")
    learning_rate: float = Field(gt=0, description="peak learning rate at this batch size")
    weight_decay: float = Field(ge=0)
    warmup_fraction: float = Field(ge=0, lt=1, description="fraction of all steps in which the learning rate rises")
    gradient_clip: float | None = Field(default=None, gt=0, description="largest norm of the whole gradient")
    ema_decay: float | None = Field(default=None, gt=0, lt=1, description="share that averaged weights keep in a step")
    empty_slice_weight: float = Field(
        default=1.0, gt=0, le=1, description="how often an empty slice is drawn, relative to one with a structure"
    )
    cutmix: float = Field(
        default=0.0, ge=0, le=1, description="fraction of the slices that get a rectangle of another slice"
    )
    deep_supervision: bool = Field(default=False, description="whether coarser feature maps learn to segment too")
    precision: Precision = "fp32"
    seed: int = Field(default=0, ge=0)
    init: str | None = Field(default=None, description="checkpoint whose weights the training started with")
    coarse_epochs: int = Field(default=0, ge=0, description="epochs at half the image size before the others")

    @classmethod
    def for_recipe(cls, recipe: RecipeName, *, batch_size: int = 24, **given: Any) -> TrainingConfig:
        """Return the settings of a recipe, changed where a value is given; None counts as not given.

        paper: SGD 0.05 at batch 24, momentum 0.9, weight decay 1e-4, polynomial decay.
        modern: AdamW, warm-up, cosine decay, clipped gradients, averaged weights, CutMix.
        """
        if recipe == "paper":
            values: dict[str, Any] = {
                "learning_rate": 0.05 * batch_size / 24,
                "weight_decay": 1e-4,
                "warmup_fraction": 0.0,
            }
        else:
            values = {
                "learning_rate": 2e-3 * (batch_size / 24) ** 0.5,
                "weight_decay": 0.02,
                "warmup_fraction": 0.05,
                "gradient_clip": 1.0,
                "ema_decay": 0.998,
                "empty_slice_weight": 0.4,
                "cutmix": 0.5,
            }
        values |= {key: value for key, value in given.items() if value is not None}
        return cls.parse({"recipe": recipe, "batch_size": batch_size, **values}, source="training settings")


class RunConfig(Config):
    """The configuration of a run, `config.json`: everything to rebuild the network and its preprocessing."""

    network: NetworkConfig
    preprocessing: Preprocessing
    postprocessing: Postprocessing = Field(default=Postprocessing(), description="found in the training masks")
    intensities: IntensityFingerprint | None = Field(default=None, description="brightness of the training scans")
    labels: LabelSet
    partial_labels: tuple[tuple[int, ...], ...] = Field(
        default=(), description="the classes that codes in the slices stand for: 255, 254, ..., see `partial_labels.py`"
    )
    training: TrainingConfig

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        ours, theirs = self.preprocessing, self.network
        if (ours.image_size, ours.output_stride) != (theirs.image_size, theirs.output_stride):
            raise ValueError(
                f"preprocessing gives {ours.image_size} pixels and takes one logit for {ours.output_stride}, "
                f"the network takes {theirs.image_size} and gives one for {theirs.output_stride}"
            )
        return self

    @property
    def contract(self) -> Contract:
        """The contract of the network; export adds the spacing range."""
        return Contract(
            preprocessing=self.preprocessing,
            labels=self.labels,
            postprocessing=self.postprocessing,
            intensities=self.intensities,
        )

    def with_training(self, **changes: Any) -> Self:
        """Return a copy with other training settings; None counts as unchanged."""
        given = {name: value for name, value in changes.items() if value is not None}
        return self.model_copy(update={"training": self.training.model_copy(update=given)})
