"""Results for a hospital's archive: DICOM segmentations, and pages that every viewer shows. Research use only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["ResultFormat", "results_for"]

if TYPE_CHECKING:
    from embedded_vit.clinic.formats import ResultFormat, results_for
else:
    __getattr__, __dir__ = lazily(__name__, {"formats": ["ResultFormat", "results_for"]})
