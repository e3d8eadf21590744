"""The search space: the networks to choose from, and the budget that the exported network must keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeVar, get_args

import optuna
from pydantic import Field, field_validator
from typing_extensions import Self

from embedded_vit.config import Config, nearest_name
from embedded_vit.counted import counted
from embedded_vit.engines import EngineChoice
from embedded_vit.errors import ConfigError
from embedded_vit.models.layered_network import check_square
from embedded_vit.models.own_class import imported
from embedded_vit.models.registry import Family
from embedded_vit.training.settings import Precision, TrainingConfig

__all__ = ["IMAGE_SIZES", "Budget", "Candidate", "SearchFamily", "SearchSettings", "first_candidates", "suggest"]

Choice = TypeVar("Choice")
BudgetName = Literal["latency_ms", "macs", "parameters"]
SearchFamily = Literal["fast", "dual", "hybrid", "unet"]

IMAGE_SIZES = (64, 96, 128, 160, 192, 224)
FINE_WIDTHS = (16, 24, 32, 40, 48, 64, 80, 96, 128)  # up to those of the paper's largest network
COARSE_WIDTHS = (32, 48, 64, 80, 96, 128, 160, 192, 256, 320)
CONVOLUTION_WIDTHS = ((), (8, 16), (12, 24), (16, 32))
DEPTHS, HIDDEN_RATIOS, CONTEXT_SLICES = (1, 2), (2, 3, 4), (1, 3)
SIZE_MULTIPLE = 8  # that every family takes

# The hybrid family. Engines compute 16 channels at a time, or 8, so a width is a multiple of 16 on every machine.
FINEST_WIDTHS = (16, 32, 48, 64)
GROWTHS = (2, 3, 4)  # of the width from one level to the next, in halves
MOST_WIDTH, CHANNEL_BLOCK = 256, 16
LEVELS, STEM_STRIDES, TOKEN_DEPTHS, TOKEN_RATIOS = (3, 4, 5), (1, 2, 4), (0, 1, 2, 3), (1, 2, 3)
LEAST_TOKENS = 4  # a side; with fewer there is little to attend to

FAST_FAMILIES: tuple[Family, ...] = ("hybrid", "unet")

# Plain U-Nets, with these multiples of the finest width.
UNET_WIDTHS, UNET_FACTORS, UNET_LEVELS = (8, 16, 24, 32, 48), (1, 2, 4, 8, 8), (3, 4, 5)


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
    family: SearchFamily = Field(
        default="fast", description="family of networks to search in; fast: the hybrid family and plain U-Nets"
    )
    space: str | None = Field(
        default=None, description="package.module:function of a user's own search space, in place of the family"
    )
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
            check_square(size, size, multiple=SIZE_MULTIPLE)
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
    family: Family = "dual"  # of records that do not name it
    widths: tuple[int, ...] = ()
    depth: int = 1
    hidden_ratio: int = 4
    context_slices: int
    convolution_widths: tuple[int, ...] = ()
    stem_stride: Literal[1, 2, 4] = 1
    model: str | None = None
    options: dict[str, bool | int | float | str] = Field(default_factory=dict)

    def architecture(self) -> dict[str, Any]:
        """Return the hyperparameters as `embedded_vit.models.registry.network_config` takes them."""
        left_out = {"context_slices"} | (set() if self.model else {"model", "options"})
        return self.model_dump(exclude=left_out)

    def __str__(self) -> str:
        slices = counted(self.context_slices, "slice")
        if self.model is not None:
            options = "".join(f", {name} {value}" for name, value in self.options.items())
            return f"{self.image_size} pixels, {slices}, {self.model}{options}"
        widths = ", ".join(map(str, self.widths))
        around = f", convolutions {', '.join(map(str, self.convolution_widths))}" if self.convolution_widths else ""
        stem = f"stem {self.stem_stride}, " if self.family == "hybrid" else ""
        if self.family == "unet":
            return f"{self.image_size} pixels, {slices}, U-Net, widths {widths}"
        transformer = f"widths {widths}, depth {self.depth}, ratio {self.hidden_ratio}"
        return f"{self.image_size} pixels, {slices}, {stem}{transformer}{around}"


def suggest(trial: optuna.Trial, settings: SearchSettings) -> Candidate:
    """Return the candidate that the sampler chooses for a trial.

    Raises:
        ConfigError: A user's own space gives what is no architecture.
    """
    if settings.space is not None:
        return _own_candidate(trial, settings)

    def one_of(name: str, choices: Sequence[Choice]) -> Choice:
        return choices[
            trial.suggest_int(f"{name}_place", 0, len(choices) - 1)
        ]  # by place, as the choices have an order

    image_size = one_of("image_size", settings.image_sizes)
    context_slices = one_of("context_slices", settings.context_slices)
    if settings.family == "dual":
        return _dual(one_of, image_size, context_slices)
    # All trials of a search have equal parameters, so those of both families are drawn.
    family = one_of("family", FAST_FAMILIES) if settings.family == "fast" else settings.family
    drawn = {
        each: draw(one_of, image_size, context_slices)
        for each, draw in (("hybrid", _hybrid), ("unet", _unet))
        if settings.family in ("fast", each)
    }
    return drawn[family]


class _OneOf(Protocol):
    """Draws one of some choices under a name."""

    def __call__(self, name: str, choices: Sequence[Choice]) -> Choice: ...


def _dual(one_of: _OneOf, image_size: int, context_slices: int) -> Candidate:
    return Candidate(
        image_size=image_size,
        widths=(one_of("fine_width", FINE_WIDTHS), one_of("coarse_width", COARSE_WIDTHS)),
        depth=one_of("depth", DEPTHS),
        hidden_ratio=one_of("hidden_ratio", HIDDEN_RATIOS),
        context_slices=context_slices,
        convolution_widths=one_of("convolution_widths", CONVOLUTION_WIDTHS),
    )


def _unet(one_of: _OneOf, image_size: int, context_slices: int) -> Candidate:
    finest, levels = one_of("unet_width", UNET_WIDTHS), one_of("unet_levels", UNET_LEVELS)
    return Candidate(
        image_size=image_size,
        family="unet",
        widths=tuple(finest * factor for factor in UNET_FACTORS[: _levels_that_fit(image_size, 1, levels)]),
        depth=1,
        hidden_ratio=4,
        context_slices=context_slices,
    )


def _hybrid(one_of: _OneOf, image_size: int, context_slices: int) -> Candidate:
    stem_stride, levels = one_of("stem_stride", STEM_STRIDES), one_of("levels", LEVELS)
    widths = [one_of("finest_width", FINEST_WIDTHS)]
    for level in range(1, max(LEVELS)):  # of levels that this candidate lacks as well: all trials have equal parameters
        grown = widths[-1] * one_of(f"growth_{level}", GROWTHS) // 2
        widths.append(min(MOST_WIDTH, -(-grown // CHANNEL_BLOCK) * CHANNEL_BLOCK))
    return Candidate(
        image_size=image_size,
        family="hybrid",
        widths=tuple(widths[: _levels_that_fit(image_size, stem_stride, levels)]),
        depth=one_of("token_depth", TOKEN_DEPTHS),
        hidden_ratio=one_of("token_ratio", TOKEN_RATIOS),
        context_slices=context_slices,
        stem_stride=stem_stride,
    )


def _own_candidate(trial: optuna.Trial, settings: SearchSettings) -> Candidate:
    """Ask a user's function for an architecture; the size and the context are ours where it gives none."""
    assert settings.space is not None
    given = imported(settings.space, "--space")(trial)
    if not isinstance(given, dict):
        kind = type(given).__name__
        raise ConfigError(f"--space {settings.space}: gave {kind}; a dict of an architecture is expected")
    values = dict(given)
    if "image_size" not in values:
        values["image_size"] = trial.suggest_categorical("image_size", settings.image_sizes)
    if "context_slices" not in values:
        values["context_slices"] = trial.suggest_categorical("context_slices", settings.context_slices)
    return Candidate.parse(values, source=f"--space {settings.space}")


def _levels_that_fit(image_size: int, stem_stride: int, levels: int) -> int:
    """Return as many levels as the image can be halved for, and still has enough tokens; at least two."""
    while levels > 2:
        tokens, rest = divmod(image_size, stem_stride * 2 ** (levels - 1))
        if rest == 0 and tokens >= LEAST_TOKENS:
            break
        levels -= 1
    return levels


def first_candidates(family: SearchFamily = "fast") -> list[dict[str, int]]:
    """Return the candidates of the first trials, at the smallest size.

    Those of the dual family are the paper's 64-pixel network and our own; those of the hybrid family the presets
    `hybrid-s` and `conv-s`; of the U-Nets `unet-16`. A fast search has the latter three.
    """
    if family == "fast":
        return [
            {"family_place": place, **known}
            for place, each in enumerate(FAST_FAMILIES)
            for known in first_candidates(each)
        ]
    if family == "unet":
        places = {"unet_width_place": UNET_WIDTHS.index(16), "unet_levels_place": UNET_LEVELS.index(5)}
        return [{"image_size_place": 0, "context_slices_place": 0, **places}]
    if family == "dual":
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
    hybrid = {
        "image_size_place": 0,
        "stem_stride_place": STEM_STRIDES.index(2),
        "levels_place": LEVELS.index(4),
        "finest_width_place": FINEST_WIDTHS.index(16),
        **{f"growth_{level}_place": GROWTHS.index(4) for level in range(1, max(LEVELS))},
        "token_depth_place": TOKEN_DEPTHS.index(2),
        "token_ratio_place": TOKEN_RATIOS.index(2),
        "context_slices_place": 0,
    }
    return [hybrid, {**hybrid, "token_depth_place": TOKEN_DEPTHS.index(0)}]
