"""Prediction of many cases: a queue on the disk, and workers in this process, on this machine, or on many machines.

    cases -> CaseQueue -> Driver -> Workers: InThisProcess | LocalProcesses | OnRay

The one-process prediction of a folder is the case of one worker, and a queue in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["Crew", "predict_in_bulk"]

if TYPE_CHECKING:
    from embedded_vit.predict.bulk.running import Crew, predict_in_bulk
else:
    __getattr__, __dir__ = lazily(__name__, {"running": ["Crew", "predict_in_bulk"]})
