"""What becomes of a mask after the network: islands that no patient of the training data had are removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from embedded_vit.config import Config
from embedded_vit.labels import LabelSet

__all__ = ["Postprocessing"]

Share = Annotated[float, Field(ge=0, le=1)]


class Postprocessing(Config):
    """The contract of a network's masks."""

    smallest_component: Mapping[str, Share] = Field(
        default_factory=dict,
        description="structure -> share of its largest component's voxels that any other component must have to stay; "
        "one that is not named keeps all",
    )

    def smallest_shares(self, labels: LabelSet) -> list[float]:
        """The share for each label from 1; 0 where all components stay."""
        return [self.smallest_component.get(name, 0.0) for name in labels.names]
