"""Scans of another body part or modality, given to a model of the abdomen: refused, or warned of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from embedded_vit.builtin.resolve import model_path
from embedded_vit.datasets.phantom import PhantomSettings, make_phantom
from embedded_vit.errors import ContractError
from embedded_vit.predict.predictor import Predictor
from embedded_vit.volume import Volume
from faults.row import Outcome

KINDS = ("chest", "head", "knee", "mr", "abdomen")
LEAST_CAUGHT, MOST_FALSE = 0.95, 0.02


def scan(number: int) -> tuple[str, Volume]:
    """Make a scan of a body part, or one with the intensities of an MR."""
    kind = KINDS[number % len(KINDS)]
    anatomy = "abdomen" if kind == "mr" else kind
    settings = PhantomSettings(size=160, anatomy=anatomy)  # type: ignore[arg-type]
    volume, _ = make_phantom(number, settings=settings)
    if kind == "mr":
        hounsfield = volume.array * volume.slope + volume.intercept
        array = np.clip((hounsfield + 1000) * 0.7, 0, None).astype(np.int16)
        volume = replace(volume, array=array, slope=1.0, intercept=0.0)
    return kind, volume


def other_bodies(count: int, folder: Path) -> Outcome:
    """Segment scans of all kinds in turns; the targets are shares, so a few may fail."""
    del folder
    find = Predictor.load(model_path("abdomen-ct-fast"), threads=1)
    wrong, caught, right, refused = 0, 0, 0, 0
    outcome = Outcome(tried=count)
    for number in range(count):
        kind, volume = scan(number)
        try:
            judgement = find.predict(volume).judgement
            is_refused, is_told = False, judgement is not None and bool(judgement.implausible or judgement.missing)
        except ContractError:
            is_refused, is_told = True, True
        if kind == "abdomen":
            right, refused = right + 1, refused + is_refused
        else:
            wrong, caught = wrong + 1, caught + is_told
            if not is_told:
                outcome.messages.append(f"phantom {number}, {kind}: neither refused nor warned of")
    outcome.note = f"{caught} of {wrong} wrong ones caught, {refused} of {right} right ones refused"
    if caught < LEAST_CAUGHT * wrong or refused > MOST_FALSE * right:
        outcome.failed = (wrong - caught) + refused
    else:
        outcome.messages.clear()
    return outcome
