"""Training of a network on a labelled data set; a run folder holds the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["Checkpoint", "RunConfig", "TrainingConfig", "TrainingRecord", "load_checkpoint", "train"]

if TYPE_CHECKING:
    from embedded_vit.training.checkpoint import Checkpoint, TrainingRecord, load_checkpoint
    from embedded_vit.training.settings import RunConfig, TrainingConfig
    from embedded_vit.training.training import train
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "checkpoint": ["Checkpoint", "TrainingRecord", "load_checkpoint"],
            "settings": ["RunConfig", "TrainingConfig"],
            "training": ["train"],
        },
    )
