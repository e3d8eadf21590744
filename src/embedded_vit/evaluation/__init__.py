"""Scores of masks on labelled cases: metrics, protocols, reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["Comparison", "Evaluation", "compare_masks", "evaluate"]

if TYPE_CHECKING:
    from embedded_vit.evaluation.evaluating import evaluate
    from embedded_vit.evaluation.metrics import Comparison, compare_masks
    from embedded_vit.evaluation.results import Evaluation
else:
    __getattr__, __dir__ = lazily(
        __name__, {"evaluating": ["evaluate"], "metrics": ["Comparison", "compare_masks"], "results": ["Evaluation"]}
    )
