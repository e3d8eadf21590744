"""The scores of a model on the cases of one subset, as `compression.json` keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from embedded_vit.config import Config
from embedded_vit.datasets import open_data_set_like
from embedded_vit.datasets.identity import data_content
from embedded_vit.evaluation.protocol import METRICS
from embedded_vit.evaluation.results import Evaluation

__all__ = ["Scores"]


class Scores(Config):
    """The mean scores of a model on the cases of one subset.

    A mean is over structures, of each structure's mean over cases; None where no case counts.
    """

    dice: float | None
    jaccard: float | None
    hd95: float | None
    nsd: float | None
    unit: Literal["mm", "voxels", "pixels"] = Field(description="of hd95")
    cases: int = Field(ge=1)
    dice_interval: tuple[float, float] | None = Field(default=None, description="95 % bootstrap interval over patients")
    organs: dict[str, float | None] = Field(default_factory=dict, description="structure -> Dice")
    files_sha256: str = Field(default="", description="digest of the cases' files")
    by_case: dict[str, float | None] = Field(default_factory=dict, description="case -> Dice, mean over structures")

    @classmethod
    def of(cls, evaluation: Evaluation) -> Scores:
        """Summarise an evaluation."""
        summary = evaluation.summaries["dice"]
        low, high = summary.overall.low, summary.overall.high
        return cls(
            **{metric: evaluation.summaries[metric].overall.mean for metric in METRICS},
            unit=evaluation.unit,
            cases=len(evaluation.cases),
            dice_interval=None if low is None or high is None else (low, high),
            organs={name: organ.mean for name, organ in zip(evaluation.labels.names, summary.organs, strict=True)},
            files_sha256=evaluation.provenance.data.get("files_sha256", ""),
            by_case={case.name: case.mean("dice") for case in evaluation.cases},
        )

    def are_of(self, data_folder: Path) -> bool:
        """Return whether the files of the scored cases are still what they were; older scores do not say.

        Raises:
            DataSetError: The folder is not a data set, or a case is not in it.
        """
        return self.files_sha256 in ("", data_content(open_data_set_like(data_folder, list(self.organs)), self.by_case))
