"""From a labelled data set to a plan: what the data are, and how a network for them is trained, each with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["BuildPlan", "plan_for"]

if TYPE_CHECKING:
    from embedded_vit.planning.build_plan import BuildPlan
    from embedded_vit.planning.planning import plan_for
else:
    __getattr__, __dir__ = lazily(__name__, {"build_plan": ["BuildPlan"], "planning": ["plan_for"]})
