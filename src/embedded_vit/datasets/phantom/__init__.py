"""Phantom patients of several body parts: labelled CT and MR, generated, the same bytes for the same seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["ANATOMIES", "Anatomy", "AnatomyName", "PhantomSettings", "make_phantom"]

if TYPE_CHECKING:
    from embedded_vit.datasets.phantom.anatomies import ANATOMIES, AnatomyName
    from embedded_vit.datasets.phantom.anatomy import Anatomy
    from embedded_vit.datasets.phantom.making import PhantomSettings, make_phantom
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "anatomies": ["ANATOMIES", "AnatomyName"],
            "anatomy": ["Anatomy"],
            "making": ["PhantomSettings", "make_phantom"],
        },
    )
