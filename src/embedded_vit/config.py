"""The base of every settings model: frozen, typed, validated once, strict about names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import Self

from embedded_vit.errors import ConfigError

__all__ = ["Config", "nearest_name"]


class Config(BaseModel):
    """A frozen settings model that refuses unknown keys and names the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, source: str) -> Self:
        """Validate plain values, for example those of a JSON or YAML file.

        Args:
            values: Setting names and values; nested models as nested mappings.
            source: Where they come from, for the message: a file or "the command line".

        Raises:
            ConfigError: A key is unknown or a value out of range; one line that names the key.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{source}: {_one_line(cls, error)}") from error


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Say which known name is nearest to `name`: ' (did you mean ...?)' or the list of all of them."""
    names = list(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" (did you mean '{nearest[0]}'?)" if nearest else f" (known: {', '.join(names)})"


def _one_line(model: type[BaseModel], error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    unknown = [problem for problem in problems if problem["type"] == "extra_forbidden"]
    problem = (unknown or problems)[0]  # a misspelt name is also missing under its right one
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        message = problem["msg"].removeprefix("Value error, ")
        return f"{key}: {message} (got {problem['input']!r:.80})" if key else message
    owner: Any = model
    for part in problem["loc"][:-1]:
        field = owner.model_fields.get(str(part)) if isinstance(owner, type) and issubclass(owner, BaseModel) else None
        owner = field.annotation if field else None
    known = list(owner.model_fields) if isinstance(owner, type) and issubclass(owner, BaseModel) else []
    return f"unknown option '{key}'{nearest_name(str(problem['loc'][-1]), known)}"
