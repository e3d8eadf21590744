"""Recipes: a gate and an ordered list of steps, read from YAML and validated whole before anything runs.

gate: {metric: dice, keep: 0.99, worst_organ: 0.02}     # may be left out: then nothing is refused
steps:
  - fold
  - prune_channels: {target_macs: 0.5, rounds: 5, epochs: 10}
  - quantize: {precision: int8, calibration_slices: 64}  # can only be the last
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, SerializeAsAny, field_validator
from typing_extensions import Self

from embedded_vit.compression.distill import Distill
from embedded_vit.compression.fold import Fold
from embedded_vit.compression.gate import Gate
from embedded_vit.compression.prune_channels import PruneChannels
from embedded_vit.compression.prune_weights import PruneWeights
from embedded_vit.compression.quantize import Quantize
from embedded_vit.compression.step import Step
from embedded_vit.config import Config, nearest_name
from embedded_vit.errors import ConfigError
from embedded_vit.io.plain_yaml import read_yaml

__all__ = ["STEPS", "Recipe", "read_recipe"]

STEPS: dict[str, type[Step]] = {step.name: step for step in (Fold, PruneWeights, PruneChannels, Distill, Quantize)}


class Recipe(Config):
    """What is done to a trained network, in order, and how much worse it may become."""

    gate: Gate | None = None
    steps: tuple[SerializeAsAny[Step], ...] = Field(min_length=1)

    @field_validator("steps")
    @classmethod
    def _quantize_is_last(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        if any(step.name == Quantize.name for step in steps[:-1]):
            raise ValueError("quantize must be the last step: nothing can train an integer network on")
        return steps

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], *, source: str) -> Self:
        """Validate plain values, those of a YAML file or of `plain`.

        Raises:
            ConfigError: A step or a key is unknown, or a value out of range; one line.
        """
        steps = values.get("steps")
        if not isinstance(steps, list):
            return cls.parse(values, source=source)  # which says what is missing or unknown
        read = tuple(_read_step(step, f"{source}: step {number}") for number, step in enumerate(steps, start=1))
        return cls.parse({**values, "steps": read}, source=source)

    def plain(self) -> dict[str, Any]:
        """The recipe as JSON values, defaults written out; `from_plain` reads it back."""
        return {
            "gate": None if self.gate is None else self.gate.model_dump(mode="json"),
            "steps": [{step.name: step.model_dump(mode="json")} for step in self.steps],
        }


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe file.

    Raises:
        ConfigError: It cannot be read, is no plain YAML, or `Recipe.from_plain` refuses it.
    """
    return Recipe.from_plain(read_yaml(Path(path)), source=str(path))


def _read_step(entry: Any, source: str) -> Step:
    """`fold` or `{fold: {...}}` -> the step."""
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise ConfigError(f"{source}: expected a step's name, or one name with its settings, got {entry!r:.60}")
    ((name, settings),) = entry.items()
    if name not in STEPS:
        raise ConfigError(f"{source}: unknown step '{name:.40}'{nearest_name(name[:40], STEPS)}")
    if settings is None:
        settings = {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{source}, {name}: expected settings by name, got {settings!r:.60}")
    return STEPS[name].parse(settings, source=f"{source}, {name}")
