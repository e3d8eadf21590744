"""A decision of a plan: what was decided, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Decision"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class Decision(Generic[Value]):
    """What was decided, and why, as one sentence for a person who knows the data."""

    value: Value
    reason: str
