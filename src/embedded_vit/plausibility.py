"""Whether a mask looks like the masks that its network was trained on: how large, where, in which order, how sure.

A network labels a scan of the wrong body part all the same, and the mask alone does not tell. `find_plausibility`
makes ranges from the figures of training masks at export; `Plausibility.check` holds a new mask against them.
Structures that the border of the scan cuts off may be smaller, and a cropped scan says nothing of places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from statistics import NormalDist
from typing import Literal

from pydantic import Field

from embedded_vit.config import Config
from embedded_vit.labels import LabelSet
from embedded_vit.mask_figures import MaskFigures, StructureFigures
from embedded_vit.slicing import AXES, Axis

__all__ = ["Judgement", "Order", "Plausibility", "StructureRange", "find_plausibility"]

Range = tuple[float, float]

LEAST_CASES = 5  # with a structure: what fewer patients have in common may be chance
SIZE_MARGIN = 1.5  # factor on both ends of volumes and cross-sections
PLACE_MARGIN = 0.1  # of the body's box, on both ends
CONFIDENCE_MARGIN = 0.08  # below the least sure training case
ORDER_APART = 0.03  # of the scan: by as much every training case has two structures in the same order
HEIGHT_MARGIN = 0.95  # of the lowest training scan: what is as high should hold what all of them hold
HALF_HEIGHT, FEW_FOUND = 0.5, 0.25  # a scan of half that height should hold more than a quarter of the structures
PLAUSIBLE_SHARE = 0.2  # of the mask's volume: where less of it is plausible, nothing is

WORDS: Mapping[Axis, str] = {"superior": "above", "left": "left of", "posterior": "behind"}


class StructureRange(Config):
    """What one structure may be like; margins are included."""

    in_every_case: bool = Field(description="whether every training case has it")
    volume: Range = Field(description="in the unit of `Plausibility.unit`; may be less where the scan cuts it off")
    share: Range = Field(description="of the body's cross-section in the slice where it is largest; likewise")
    left: Range | None = Field(
        default=None, description="its middle in the body's box: 0 is right, 1 is left; None in crops and along slices"
    )
    posterior: Range | None = Field(default=None, description="likewise: 0 is in front, 1 is behind")
    superior: Range | None = Field(default=None, description="likewise: 0 is below, 1 is above")
    confidence: float | None = Field(description="the least mean softmax probability; None where not measured")


class Order(Config):
    """Two structures that lie in the same order in every training case."""

    first: str
    second: str
    axis: Axis = Field(description="the direction in which `first` lies from `second`")


class Plausibility(Config):
    """What the masks of a network may be like, from those that it was trained on."""

    cases: int = Field(ge=1, description="training cases that it was made from")
    unit: Literal["ml", "voxels"]
    structures: Mapping[str, StructureRange]
    order: tuple[Order, ...] = ()
    least_height_mm: float | None = Field(default=None, description="of a scan that should hold every structure")

    def check(self, figures: MaskFigures, labels: LabelSet) -> Judgement:
        """Hold a mask against the training masks."""
        found = {label.name: figures.structures.get(label.id) for label in labels.labels}
        reasons = {
            name: self._reasons(figures, structure, self.structures[name])
            for name, structure in found.items()
            if structure is not None and name in self.structures
        }
        for order in self.order:
            first, second = found.get(order.first), found.get(order.second)
            if first is not None and second is not None and _contradicts(first, second, order.axis):
                reasons[order.first].append(f"does not lie {WORDS[order.axis]} the {order.second}")
        implausible = {name: tuple(sentences) for name, sentences in reasons.items() if sentences}
        volumes = {name: each.volume for name, each in found.items() if each is not None and name in self.structures}
        return Judgement(implausible, self._missing(figures, found), _nothing_plausible(volumes, implausible))

    def _reasons(self, figures: MaskFigures, found: StructureFigures, expected: StructureRange) -> list[str]:
        """Say in what a structure differs, a few words each, with what is expected."""
        reasons = []
        volume, share = (_widened_by_spread(sizes, self.cases) for sizes in (expected.volume, expected.share))
        if figures.in_ml == (self.unit == "ml") and not _fits(found.volume, volume, found.at_border):
            low, high = volume
            reasons.append(f"{found.volume:.3g} {self.unit}, expected {low:.3g} to {high:.3g}")
        if not figures.cropped:
            reasons += _out_of_place(found, expected, share)
        if found.confidence is not None and expected.confidence is not None and found.confidence < expected.confidence:
            reasons.append(f"mean probability {found.confidence:.2f}, expected at least {expected.confidence:.2f}")
        return reasons

    def _missing(self, figures: MaskFigures, found: Mapping[str, StructureFigures | None]) -> tuple[str, ...]:
        """Return the structures that every training case has and this mask has not.

        A scan that is not high enough may lack some, one of half the height most, a short one or a crop all but one.
        """
        always = [name for name, expected in self.structures.items() if expected.in_every_case]
        there = sum(found.get(name) is not None for name in always)
        part = HALF_HEIGHT if there <= FEW_FOUND * len(always) else 1.0
        least, height = self.least_height_mm, figures.height_mm
        high = least is not None and height is not None and height >= part * least and not figures.cropped
        if figures.structures and not high:
            return ()
        return tuple(name for name in always if found.get(name) is None)


@dataclass(frozen=True)
class Judgement:
    """What a mask was found to be.

    Attributes:
        implausible: Structure -> why, a few words each.
        missing: Structures that it should have.
        nothing_plausible: Whether hardly anything of the mask is plausible.
    """

    implausible: Mapping[str, tuple[str, ...]]
    missing: tuple[str, ...]
    nothing_plausible: bool

    def plain(self) -> dict[str, object]:
        """Return the judgement for a JSON file."""
        return {
            "implausible": {name: list(reasons) for name, reasons in self.implausible.items()},
            "missing": list(self.missing),
            "nothing_plausible": self.nothing_plausible,
        }

    @property
    def warnings(self) -> list[str]:
        """One sentence for each implausible structure, and one for those that are missing."""
        sentences = [f"implausible: {name}: {'; '.join(reasons)}" for name, reasons in self.implausible.items()]
        if self.missing:
            sentences.append(f"not found, though every training scan has it: {', '.join(self.missing)}")
        return sentences


def find_plausibility(
    masks: Sequence[MaskFigures], labels: LabelSet, *, cases: int | None = None
) -> Plausibility | None:
    """Make the ranges that masks may lie in.

    Args:
        masks: The figures of true masks, and of the network's own masks of the same scans: both are plausible.
        labels: The structures.
        cases: The number of cases that they are of; by default each is of one of its own.

    Returns:
        A range for each structure that enough cases have; None where there is no such structure, or where volumes
        of some cases are in ml and those of others are not.
    """
    cases = len(masks) if cases is None else cases
    of_name = {label.name: [mask.structures.get(label.id) for mask in masks] for label in labels.labels}
    whole = [mask for mask in masks if not mask.cropped]
    structures = {}
    for label in labels.labels:
        present = [figures for figures in of_name[label.name] if figures is not None]
        if cases and len(present) * cases >= LEAST_CASES * len(masks):
            in_body = [mask.structures[label.id] for mask in whole if label.id in mask.structures]
            structures[label.name] = _range_of(present, in_body, in_every_case=len(present) == len(masks))
    if not structures or len({mask.in_ml for mask in masks}) > 1:
        return None
    heights = [mask.height_mm for mask in masks if mask.height_mm is not None]
    return Plausibility(
        cases=cases,
        unit="ml" if masks[0].in_ml else "voxels",
        structures=structures,
        order=tuple(_orders({name: of_name[name] for name in structures})),
        least_height_mm=round(HEIGHT_MARGIN * min(heights), 1) if len(heights) == len(masks) else None,
    )


def _range_of(
    present: Sequence[StructureFigures], in_body: Sequence[StructureFigures], *, in_every_case: bool
) -> StructureRange:
    sure = [figures.confidence for figures in present if figures.confidence is not None]
    volumes, shares = ([getattr(each, name) for each in present] for name in ("volume", "share"))
    places: dict[str, Range] = {}
    if len(in_body) >= LEAST_CASES:
        for axis in in_body[0].place:
            found = [figures.place[axis] for figures in in_body]
            places[axis] = (round(min(found) - PLACE_MARGIN, 3), round(max(found) + PLACE_MARGIN, 3))
    return StructureRange(
        in_every_case=in_every_case,
        volume=_widened(volumes),
        share=_widened(shares),
        confidence=round(min(sure) - CONFIDENCE_MARGIN, 3) if sure else None,
        **places,
    )


def _widened(values: Iterable[float]) -> Range:
    values = list(values)
    return float(f"{min(values) / SIZE_MARGIN:.4g}"), float(f"{max(values) * SIZE_MARGIN:.4g}")


def _orders(of_name: Mapping[str, Sequence[StructureFigures | None]]) -> Iterable[Order]:
    """Yield the order of each two structures that all cases share."""
    for first, second in permutations(of_name, 2):
        pairs = zip(of_name[first], of_name[second], strict=True)
        apart = [
            [here - there for here, there in zip(one.centre, other.centre, strict=True)]
            for one, other in pairs
            if one is not None and other is not None
        ]
        if len(apart) >= LEAST_CASES:
            for axis, distances in zip(AXES, zip(*apart, strict=True), strict=True):
                if min(distances) > ORDER_APART:
                    yield Order(first=first, second=second, axis=axis)


def _out_of_place(found: StructureFigures, expected: StructureRange, allowed_share: Range) -> Iterable[str]:
    """Yield in what a structure's place in the body, or its part of it, differs."""
    if not _fits(found.share, allowed_share, found.at_border):
        low, high = (100 * share for share in allowed_share)
        yield f"{100 * found.share:.2g} % of the body's cross-section, expected {low:.2g} to {high:.2g} %"
    for axis, place in found.place.items():
        allowed: Range | None = getattr(expected, axis)
        if allowed is not None and not allowed[0] <= place <= allowed[1]:
            yield f"at {place:.2f} of the body towards {axis}, expected {allowed[0]:.2f} to {allowed[1]:.2f}"


def _contradicts(first: StructureFigures, second: StructureFigures, axis: Axis) -> bool:
    """Whether two structures lie the other way round; heights say nothing of what the scan cuts off."""
    if axis == "superior" and (first.at_border or second.at_border):
        return False
    number = AXES.index(axis)
    return first.centre[number] < second.centre[number] - ORDER_APART


def _widened_by_spread(sizes: Range, cases: int) -> Range:
    """Widen a range of sizes by one standard deviation between cases, which its ends tell.

    Sizes of one structure spread by factors, not by millilitres, and of some cases the smallest and the largest are
    not yet the smallest and the largest of all patients. The ends of `cases` values of a normal distribution lie about
    `apart` standard deviations from each other (Blom 1958).
    """
    low, high = sizes
    apart = 2 * NormalDist().inv_cdf((max(cases, LEAST_CASES) - 0.375) / (max(cases, LEAST_CASES) + 0.25))
    factor = max(1.0, high / low / SIZE_MARGIN**2) ** (1 / apart) if low > 0 else 1.0
    return low / factor, high * factor


def _fits(value: float, allowed: Range, at_border: bool) -> bool:
    """Whether a size is in its range; what is cut off may be smaller."""
    return value <= allowed[1] and (at_border or value >= allowed[0])


def _nothing_plausible(volumes: Mapping[str, float], implausible: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether less than `PLAUSIBLE_SHARE` of the labelled volume is plausible; False where nothing is labelled."""
    plausible = sum(volume for name, volume in volumes.items() if name not in implausible)
    return bool(volumes) and plausible < PLAUSIBLE_SHARE * sum(volumes.values())
