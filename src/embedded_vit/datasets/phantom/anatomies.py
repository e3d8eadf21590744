"""The body parts that phantoms can have, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from embedded_vit.datasets.phantom.abdomen import ABDOMEN
from embedded_vit.datasets.phantom.anatomy import Anatomy
from embedded_vit.datasets.phantom.chest import CHEST
from embedded_vit.datasets.phantom.head import HEAD
from embedded_vit.datasets.phantom.knee import KNEE
from embedded_vit.datasets.phantom.spine import SPINE
from embedded_vit.datasets.phantom.vessels import VESSELS

__all__ = ["ANATOMIES", "AnatomyName"]

AnatomyName = Literal["abdomen", "chest", "head", "knee", "spine", "vessels"]
ANATOMIES: Mapping[AnatomyName, Anatomy] = {
    "abdomen": ABDOMEN,
    "chest": CHEST,
    "head": HEAD,
    "knee": KNEE,
    "spine": SPINE,
    "vessels": VESSELS,
}
