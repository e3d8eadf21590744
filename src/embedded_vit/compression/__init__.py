"""Compression of a trained network by a plan; every step is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["CompressionPlan", "CompressionRecord", "built_in_plans", "compress", "read_plan"]

if TYPE_CHECKING:
    from embedded_vit.compression.compressing import compress
    from embedded_vit.compression.plan import CompressionPlan, built_in_plans, read_plan
    from embedded_vit.compression.record import CompressionRecord
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "compressing": ["compress"],
            "plan": ["CompressionPlan", "built_in_plans", "read_plan"],
            "record": ["CompressionRecord"],
        },
    )
