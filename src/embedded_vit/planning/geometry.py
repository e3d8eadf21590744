"""How scans are cut into slices, which part of a slice is seen, and whether left and right may be exchanged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.field_of_view import FieldOfView
from embedded_vit.labels import LabelSet
from embedded_vit.planning.case_figures import occupancy_of
from embedded_vit.planning.decision import Decision
from embedded_vit.planning.fingerprint import Fingerprint
from embedded_vit.slicing import PLANES, Orientation, across_slices

__all__ = ["choose_field_of_view", "choose_mirror", "choose_orientation", "choose_plane", "mirrored_likeness"]

SAGITTAL: Orientation = "LPI"
COARSER = 1.5  # times the next spacing: from here on the slices of a scan are told from its pixels
BETTER_PLANE = 0.02  # of Dice: seeds of one plane differ by one to two points
SAVES = 0.9  # of the side, at most, in every case: what saves less is not worth another rule
ONE_SCALE = 1.3  # largest over smallest side: augmentation zooms by 0.75 to 1.35
FIELD_MARGIN, FEWEST_CASES = 1.15, 8  # of a square that has to hold the structures of patients to come
AS_ALIKE = 0.9  # of the likeness between cases: mirrored ones must be as much alike
MOST_COMPARED = 24  # cases


def choose_orientation(fingerprint: Fingerprint) -> Decision[Orientation]:
    """Cut along the coarsest axis if it is much coarser than the next, else into axial slices."""
    if fingerprint.data_set.modality == "picture":
        return Decision("SLP", "a picture is a slice")
    if not fingerprint.spacing_known:
        return Decision("SLP", "axial slices: no spacing is known")
    spacing = fingerprint.median_spacing()
    shown = " x ".join(f"{length:.3g}" for length in spacing)
    order = np.argsort(spacing)
    coarsest, next_one = spacing[int(order[2])], spacing[int(order[1])]
    if coarsest < COARSER * next_one:
        return Decision("SLP", f"axial slices: no axis of {shown} mm (height x width x depth) is much coarser")
    orientation = next(codes for codes in PLANES if across_slices(codes) == int(order[2]))
    reason = f"{PLANES[orientation]} slices: they lie {coarsest:.3g} mm apart, their pixels {next_one:.3g} mm"
    pairs = _pairs(fingerprint.data_set.labels)
    if orientation == SAGITTAL and pairs:
        reason += f"; {', '.join(pairs)} and the other side look alike in them, so see whether they are confused"
    return Decision(orientation, reason)


def choose_plane(
    fingerprint: Fingerprint, by_spacing: Decision[Orientation], dice_of: Callable[[Orientation], float | None]
) -> Decision[Orientation]:
    """Take another plane where a short training in it has a Dice that is better by two points.

    Sagittal slices are not tried where structures have a left and a right: they look alike there.

    Args:
        fingerprint: Of the training cases.
        by_spacing: What the spacing says.
        dice_of: Trains in a plane for a while, and returns the Dice of the validation patients; None without any.
    """
    if fingerprint.data_set.modality == "picture":
        return by_spacing
    tried = [by_spacing.value, *(codes for codes in PLANES if codes != by_spacing.value)]
    if _pairs(fingerprint.data_set.labels):
        tried = [codes for codes in tried if codes != SAGITTAL or codes == by_spacing.value]
    dice = {codes: found for codes in tried if (found := dice_of(codes)) is not None}
    if len(dice) < len(tried):
        return Decision(by_spacing.value, f"{by_spacing.reason}; no validation patient can compare the planes")
    best = max(dice, key=lambda codes: dice[codes])
    shown = ", ".join(f"{PLANES[codes]} {value:.3f}" for codes, value in dice.items())
    compared = f"validation Dice after short trainings: {shown}"
    if dice[best] < dice[by_spacing.value] + BETTER_PLANE:
        return Decision(by_spacing.value, f"{by_spacing.reason}; {compared}")
    return Decision(best, f"{PLANES[best]} slices; {compared}")


def _pairs(labels: LabelSet) -> list[str]:
    """Return the structures that have one of the other side; one name a pair."""
    return [label.name for label in labels.labels if labels.mirrored_numbers[label.id] > label.id]


def choose_field_of_view(fingerprint: Fingerprint, orientation: Orientation) -> Decision[Mapping[str, Any]]:
    """Look at the body, or at what is not zero, where that saves pixels in every case and loses no structure."""
    cases = fingerprint.figures
    kinds = [kind for kind in cases[0].seen if kind != "slice"]
    whole = np.array([case.side(orientation, "slice") for case in cases])
    found: list[tuple[float, Decision[Mapping[str, Any]]]] = []
    for kind in kinds:
        sides = np.array([case.side(orientation, kind) for case in cases])
        share = float(np.median(sides / whole))
        kept = all(case.keeps_all(orientation, kind) for case in cases)
        if kept and (sides <= SAVES * whole).all() and sides.max() <= ONE_SCALE * sides.min():
            found.append((share, Decision({"field_of_view": kind}, f"{_words(kind)}: {share:.0%} of a slice's side")))
        if not fingerprint.spacing_known or len(cases) < FEWEST_CASES:
            continue
        needed = FIELD_MARGIN * max(case.needed_side(orientation, kind) for case in cases)
        field_mm = float(5 * np.ceil(needed / 5))
        if (field_mm <= SAVES * whole).all():
            share = float(np.median(field_mm / whole))
            reason = f"a square of {field_mm:g} mm around the middle of {_words(kind)}: {share:.0%} of a slice's side"
            found.append((share, Decision({"field_of_view": kind, "field_mm": field_mm}, reason)))
    if not found:
        return Decision({}, "whole slices: nothing of them can be left out in every case")
    return min(found, key=lambda each: each[0])[1]


def _words(kind: FieldOfView) -> str:
    return {"body": "the body", "nonzero": "what is not zero", "slice": "the slice"}[kind]


def choose_mirror(fingerprint: Fingerprint) -> Decision[bool]:
    """Exchange left and right in training where a mirrored case is as much like the others as the case itself."""
    labels = fingerprint.data_set.labels
    if labels.mirror:
        return Decision(True, "left and right are exchanged in training, as dataset.json says")
    alike, mirrored = mirrored_likeness(fingerprint)
    pairs = _pairs(labels)
    figures = f"a case is {alike:.2f} like the others, its mirror image {mirrored:.2f}"
    if alike > 0 and mirrored >= AS_ALIKE * alike:
        with_pairs = f", with {', '.join(pairs)} and the other side" if pairs else ""
        return Decision(True, f"left and right are exchanged in training{with_pairs}: {figures}")
    return Decision(False, f"left and right are not exchanged: {figures}")


def mirrored_likeness(fingerprint: Fingerprint) -> tuple[float, float]:
    """Return the mean likeness of cases to each other, and of mirrored cases to the others.

    The likeness is the Dice of where the structures lie within the box of all of them, on a grid of 8 x 8 x 8 cells.
    """
    labels = fingerprint.data_set.labels
    with_labels = [case for case in fingerprint.figures if case.occupancy]
    step = max(1, -(-len(with_labels) // MOST_COMPARED))
    maps = [occupancy_of(case, labels.classes) for case in with_labels[::step]]
    if len(maps) < 2:
        return 0.0, 0.0
    turned = [_mirrored(each, labels) for each in maps]
    pairs = [(one, other) for one in range(len(maps)) for other in range(one)]
    alike = [_dice(maps[one], maps[other]) for one, other in pairs]
    mirrored = [_dice(turned[one], maps[other]) for one, other in pairs]
    return float(np.mean(alike)), float(np.mean(mirrored))


def _mirrored(shares: NDArray[np.float64], labels: LabelSet) -> NDArray[np.float64]:
    order = [number - 1 for number in labels.mirrored_numbers[1:]]
    return shares[order][:, :, ::-1]  # (structures, superior, left, posterior)


def _dice(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the mean over structures that either case has."""
    axes = (1, 2, 3)
    total = one.sum(axis=axes) + other.sum(axis=axes)
    there = total > 0
    return float(np.mean(2 * np.minimum(one, other).sum(axis=axes)[there] / total[there])) if there.any() else 0.0
