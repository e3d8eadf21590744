"""Compression plans: a gate and an ordered list of steps, read from YAML and validated before anything runs.

gate: {metric: dice, keep: 0.99, worst_organ: 0.02}     # optional: without a gate no step is refused
steps:
  - prune_channels: {target_macs: 0.5, rounds: 5, epochs: 10}
  - quantize: {precision: int8, calibration_slices: 64}  # must be the last step

`plans/` beside this file holds the built-in plans.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SerializeAsAny, field_validator
from typing_extensions import Self

from embedded_vit.compression.gate import Gate
from embedded_vit.compression.step import Step
from embedded_vit.compression.steps.distill import Distill
from embedded_vit.compression.steps.prune_channels import PruneChannels
from embedded_vit.compression.steps.prune_weights import PruneWeights
from embedded_vit.compression.steps.quantize import Quantize
from embedded_vit.config import Config, nearest_name
from embedded_vit.errors import ConfigError
from embedded_vit.io.plain_yaml import read_yaml

__all__ = ["STEPS", "CompressionPlan", "built_in_plans", "read_plan"]

STEPS: dict[str, type[Step]] = {step.name: step for step in (PruneWeights, PruneChannels, Distill, Quantize)}
LEFT_OUT = "(path left out)"
BUILT_IN_FOLDER = Path(__file__).with_name("plans")
# Steps that older plans have and that have no effect any more, each with the reason.
RETIRED_STEPS = {
    "fold": "networks always run in the folded form, and `embedded-vit report` says how many MACs that saves",
}


class CompressionPlan(Config):
    """The steps that compress a trained network, in order, and the quality that each may cost."""

    gate: Gate | None = None
    steps: tuple[SerializeAsAny[Step], ...]

    @field_validator("steps")
    @classmethod
    def _quantize_is_last(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        if any(step.name == Quantize.name for step in steps[:-1]):
            raise ValueError("quantize must be the last step: a quantized network cannot be trained further")
        return steps

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], *, source: str) -> Self:
        """Validate plain values, those of a YAML file or of `plain`.

        A retired step is left out, with a FutureWarning.

        Raises:
            ConfigError: There is no step, a step or a key is unknown, or a value is out of range; one line.
        """
        steps = values.get("steps")
        if not isinstance(steps, list):
            return cls.parse(values, source=source)  # raises, and names what is missing or unknown
        if not steps:
            raise ConfigError(f"{source}: steps: the list is empty; expected at least one of {', '.join(STEPS)}")
        read = [_read_step(step, f"{source}: step {number}") for number, step in enumerate(steps, start=1)]
        return cls.parse({**values, "steps": tuple(step for step in read if step is not None)}, source=source)

    def shareable(self) -> dict[str, Any]:
        """Return the plan as `plain`, without the paths of runs and scans."""
        steps = [{step.name: without_paths(step.model_dump())} for step in self.steps]
        return {**self.plain(), "steps": steps}

    def plain(self) -> dict[str, Any]:
        """Return the plan as JSON values with all defaults written out; `from_plain` reads it back."""
        return {
            "gate": None if self.gate is None else self.gate.model_dump(mode="json"),
            "steps": [{step.name: step.model_dump(mode="json")} for step in self.steps],
        }


def without_paths(values: Any) -> Any:
    """Return settings with every path replaced by `LEFT_OUT`; an artifact is given away, and folders name people."""
    if isinstance(values, Path):
        return LEFT_OUT
    if isinstance(values, dict):
        return {key: without_paths(value) for key, value in values.items()}
    return [without_paths(value) for value in values] if isinstance(values, (list, tuple)) else values


def built_in_plans() -> dict[str, Path]:
    """Return the files of the built-in plans by name."""
    return {path.stem: path for path in sorted(BUILT_IN_FOLDER.glob("*.yaml"))}


def read_plan(name_or_path: str | Path) -> CompressionPlan:
    """Read a compression plan.

    Args:
        name_or_path: The name of a built-in plan, for example "embedded-cpu", or the path of a YAML file. A file in the
            working folder comes before a built-in plan of the same name.

    Raises:
        ConfigError: No built-in plan has that name, the file cannot be read, or `CompressionPlan.from_plain` refuses
            its content.
    """
    path, known = Path(name_or_path), built_in_plans()
    if not path.is_file() and path.name == str(name_or_path) and not path.suffix:
        if path.name not in known:
            raise ConfigError(
                f"compression plan '{name_or_path}': neither a file nor a built-in plan; the built-in plans are "
                f"{', '.join(known)}"
            )
        path = known[path.name]
    return CompressionPlan.from_plain(read_yaml(path), source=str(path))


def _read_step(entry: Any, source: str) -> Step | None:
    """Read `quantize` or `{quantize: {...}}` as a step; return None for a retired one."""
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise ConfigError(f"{source}: expected a step's name, or one name with its settings, got {entry!r:.60}")
    ((name, settings),) = entry.items()
    if name in RETIRED_STEPS:
        warnings.warn(
            f"{source}: '{name}' does nothing and can be deleted: {RETIRED_STEPS[name]}", FutureWarning, stacklevel=2
        )
        return None
    if name not in STEPS:
        raise ConfigError(f"{source}: unknown step '{name:.40}'{nearest_name(name[:40], STEPS)}")
    if settings is None:
        settings = {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{source}, {name}: expected settings by name, got {settings!r:.60}")
    return STEPS[name].parse(settings, source=f"{source}, {name}")
