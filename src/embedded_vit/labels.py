"""Label sets: which structure every number of a mask stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field, model_validator
from typing_extensions import Self

from embedded_vit.config import Config

__all__ = ["IGNORED", "SYNAPSE_LABELS", "Label", "LabelSet", "Region"]

IGNORED = 255  # in a mask that a data set gives: nobody knows what is there, and neither loss nor metrics look

# Colours for structures that bring none: Okabe-Ito and its lighter companions, told apart by most colour-blind readers.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999",
           "#882255", "#44AA99", "#117733", "#DDCC77", "#88CCEE", "#AA4499", "#332288", "#661100")  # fmt: skip

# Structures that are known by name: colour, and SNOMED CT code as in DICOM PS3.16 CID 4031.
ORGANS = {
    "aorta": ("#D62728", "15825003"),
    "gallbladder": ("#2CA02C", "28231008"),
    "left kidney": ("#1F77B4", "18639004"),
    "right kidney": ("#17BECF", "9846003"),
    "liver": ("#B5651D", "10200004"),
    "pancreas": ("#FFD92F", "15776009"),
    "spleen": ("#9467BD", "78961009"),
    "stomach": ("#F781BF", "69695003"),
}

SIDES = {"left": "right", "right": "left", "lt": "rt", "rt": "lt", "lh": "rh", "rh": "lh", "l": "r", "r": "l"}


class Label(Config):
    """One structure of a mask."""

    id: int = Field(ge=1, le=255, description="the number in the mask")
    name: str
    colour: str = Field(pattern=r"^#[0-9A-Fa-f]{6}$", description="sRGB, #RRGGBB")
    snomed: str | None = Field(default=None, description="SNOMED CT code of the anatomical structure")

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as red, green and blue in 0..255."""
        return int(self.colour[1:3], 16), int(self.colour[3:5], 16), int(self.colour[5:7], 16)


class Region(Config):
    """Several structures that are scored as one beside the structures themselves, such as a whole tumour."""

    name: str
    members: tuple[int, ...] = Field(min_length=1, description="the numbers of its structures")


class LabelSet(Config):
    """The structures of a data set in the order of their numbers; 0 is always background."""

    labels: tuple[Label, ...]
    regions: tuple[Region, ...] = Field(default=(), description="structures that are scored together too")
    mirror: bool = Field(
        default=False,
        description="whether an image mirrored left to right is as plausible, once `mirrored_numbers` are its labels",
    )

    @model_validator(mode="after")
    def _numbers_run_from_one(self) -> Self:
        if [label.id for label in self.labels] != list(range(1, len(self.labels) + 1)):
            raise ValueError(f"label ids must be 1, 2, ... without gaps, got {[label.id for label in self.labels]}")
        if not self.labels:
            raise ValueError("a label set needs at least one structure besides background")
        if any(not 1 <= member <= len(self.labels) for region in self.regions for member in region.members):
            raise ValueError(f"a region's members must be numbers from 1 to {len(self.labels)}")
        return self

    @classmethod
    def from_names(cls, names: Sequence[str], *, mirror: bool = False) -> LabelSet:
        """Number the structures 1, 2, ...; each gets a colour, and known organs their own and their code."""
        labels = []
        for number, name in enumerate(names, start=1):
            colour, snomed = ORGANS.get(name.lower().replace("_", " "), (PALETTE[(number - 1) % len(PALETTE)], None))
            labels.append(Label(id=number, name=name, colour=colour, snomed=snomed))
        return cls(labels=tuple(labels), mirror=mirror)

    @property
    def classes(self) -> int:
        """The number of classes of a network for this set, background included."""
        return len(self.labels) + 1

    @property
    def names(self) -> tuple[str, ...]:
        """The structures' names, background left out."""
        return tuple(label.name for label in self.labels)

    @property
    def mirrored_numbers(self) -> tuple[int, ...]:
        """Number of each class in an image mirrored left to right, from background on: left and right change places."""
        number_of = {_plain(label.name): label.id for label in self.labels}
        return (0, *(number_of.get(_other_side(_plain(label.name)), label.id) for label in self.labels))


def _plain(name: str) -> str:
    return " ".join(re.split(r"[\s_.-]+", name.lower()))


def _other_side(name: str) -> str:
    """Return a plain name with left and right, in words or in letters that stand alone, exchanged."""
    return re.sub(r"(?<![a-z0-9])(left|right|lt|rt|lh|rh|l|r)(?![a-z0-9])", lambda side: SIDES[side[0]], name)


# The eight organs of TransUNet's Synapse data (BTCV), in its order.
SYNAPSE_LABELS = LabelSet.from_names(list(ORGANS))
