"""The gate: how much worse a compressed network may segment than the one it came from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from embedded_vit.config import Config
from embedded_vit.evaluation.scores import Scores

__all__ = ["Gate"]


class Gate(Config):
    """The share of the original's quality that every step must keep, on cases that are not test cases."""

    metric: Literal["dice", "jaccard", "nsd"] = "dice"
    keep: float = Field(default=0.99, gt=0, le=1, description="share of the original's mean that must be left")
    worst_organ: float = Field(
        default=0.02, gt=0, le=1, description="largest loss of Dice that a single structure may have"
    )

    def objection(self, original: Scores, scores: Scores) -> str:
        """Return why the scores do not pass the gate; an empty text if they pass."""
        before, after = getattr(original, self.metric), getattr(scores, self.metric)
        if before is None:
            return ""
        if after is None or after < self.keep * before:
            return f"{self.metric} {_number(after)} of {before:.4f}, at least {self.keep * before:.4f} must be left"
        losses = {
            name: whole - (scores.organs.get(name) or 0.0)
            for name, whole in original.organs.items()
            if whole is not None
        }
        if losses and max(losses.values()) > self.worst_organ:
            worst = max(losses, key=lambda name: losses[name])
            return f"{worst} loses {losses[worst]:.4f} of its Dice, at most {self.worst_organ:g} is allowed"
        return ""


def _number(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4f}"
