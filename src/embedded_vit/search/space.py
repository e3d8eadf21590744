"""The search space: the networks to choose from, and the budget that the exported network must keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar, get_args

import optuna
from pydantic import Field, field_validator
from typing_extensions import Self

from embedded_vit.config import Config, nearest_name
from embedded_vit.engines import EngineChoice
from embedded_vit.errors import ConfigError
from embedded_vit.models.embedded_vit import check_image_size
from embedded_vit.training.settings import Precision, TrainingConfig

__all__ = ["IMAGE_SIZES", "Budget", "Candidate", "SearchSettings", "first_candidates", "suggest"]

Choice = TypeVar("Choice")
BudgetName = Literal["latency_ms", "macs", "parameters"]

IMAGE_SIZES = (64, 96, 128, 160, 192, 224)
FINE_WIDTHS = (16, 24, 32, 40, 48, 64, 80, 96, 128)  # up to those of the paper's largest network
COARSE_WIDTHS = (32, 48, 64, 80, 96, 128, 160, 192, 256, 320)
CONVOLUTION_WIDTHS = ((), (8, 16), (12, 24), (16, 32))
DEPTHS, HIDDEN_RATIOS, CONTEXT_SLICES = (1, 2), (2, 3, 4), (1, 3)


class Budget(Config):
    """The most that a network may cost."""

    name: BudgetName
    limit: float = Field(gt=0, description="milliseconds per image, or a number of MACs or parameters")

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a budget as the command line takes it: latency_ms=5, macs=2e8 or parameters=1e6.

        Raises:
            ConfigError: The name is unknown, or the limit is not a number above 0.
        """
        name, _, limit = text.partition("=")
        names = get_args(BudgetName)
        if name not in names:
            raise ConfigError(f"--budget {text}: unknown budget '{name}'{nearest_name(name, names)}")
        try:
            return cls(name=name, limit=float(limit))
        except ValueError as error:
            raise ConfigError(f"--budget {text}: expected a number above 0, as in {name}=5") from error

    def __str__(self) -> str:
        return f"{self.name}={self.limit:g}"


class SearchSettings(Config):
    """The settings of a search; they must stay the same on every machine and whenever it is resumed."""

    budget: Budget
    image_sizes: tuple[int, ...] = Field(default=IMAGE_SIZES, min_length=1)
    context_slices: tuple[int, ...] = Field(default=CONTEXT_SLICES, min_length=1)
    epochs: int = Field(default=20, ge=1, description="epochs of each short training")
    inherit: bool = Field(default=True, description="start from the weights of the most similar trained network")
    precision: Precision = "fp32"
    validation_cases: int | None = Field(default=None, description="patients that select; as `make_split` takes them")
    engine: EngineChoice = "onnxruntime"
    threads: int = Field(ge=1, description="threads to train on and to measure latency on")
    seed: int = Field(default=0, ge=0)

    @field_validator("image_sizes")
    @classmethod
    def _in_order(cls, image_sizes: tuple[int, ...]) -> tuple[int, ...]:
        for size in image_sizes:
            check_image_size(size, size, stages=2)
        return tuple(sorted(set(image_sizes)))

    def training(self, init: str | None = None) -> TrainingConfig:
        """Return the settings of one short training.

        Args:
            init: Run folder with the initial weights.
        """
        return TrainingConfig.for_recipe(
            "modern", epochs=self.epochs, precision=self.precision, seed=self.seed, init=init
        )


class Candidate(Config):
    """A network of the search space."""

    image_size: int
    widths: tuple[int, int]
    depth: int
    hidden_ratio: int
    context_slices: int
    convolution_widths: tuple[int, ...] = ()

    def architecture(self) -> dict[str, Any]:
        """Return the hyperparameters as `embedded_vit.models.registry.network_config` takes them."""
        return self.model_dump(exclude={"context_slices"})

    def __str__(self) -> str:
        slices = f"{self.context_slices} slice{'s' if self.context_slices > 1 else ''}"
        widths = ", ".join(map(str, self.widths))
        around = f", convolutions {', '.join(map(str, self.convolution_widths))}" if self.convolution_widths else ""
        transformer = f"widths {widths}, depth {self.depth}, ratio {self.hidden_ratio}"
        return f"{self.image_size} pixels, {slices}, {transformer}{around}"


def suggest(trial: optuna.Trial, settings: SearchSettings) -> Candidate:
    """Return the candidate that the sampler chooses for a trial."""

    def one_of(name: str, choices: Sequence[Choice]) -> Choice:
        return choices[
            trial.suggest_int(f"{name}_place", 0, len(choices) - 1)
        ]  # by place, as the choices have an order

    return Candidate(
        image_size=one_of("image_size", settings.image_sizes),
        widths=(one_of("fine_width", FINE_WIDTHS), one_of("coarse_width", COARSE_WIDTHS)),
        depth=one_of("depth", DEPTHS),
        hidden_ratio=one_of("hidden_ratio", HIDDEN_RATIOS),
        context_slices=one_of("context_slices", settings.context_slices),
        convolution_widths=one_of("convolution_widths", CONVOLUTION_WIDTHS),
    )


def first_candidates() -> list[dict[str, int]]:
    """Return the candidates of the first trials, at the smallest size: the paper's 64-pixel network, and our own."""
    published = {
        "image_size_place": 0,
        "fine_width_place": FINE_WIDTHS.index(32),
        "coarse_width_place": COARSE_WIDTHS.index(80),
        "depth_place": DEPTHS.index(1),
        "hidden_ratio_place": HIDDEN_RATIOS.index(4),
        "context_slices_place": 0,
        "convolution_widths_place": CONVOLUTION_WIDTHS.index(()),
    }
    return [published, {**published, "convolution_widths_place": CONVOLUTION_WIDTHS.index((12, 24))}]
