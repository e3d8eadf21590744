"""What is told and shown of a finished mask, beside what it is judged by."""

from __future__ import annotations

from typing import Any

from embedded_vit.contract import Contract
from embedded_vit.predict.measuring import MeasuredMask, structure_volumes
from embedded_vit.predict.picture_overlay import picture_overlay
from embedded_vit.predict.preview import preview
from embedded_vit.predict.watching import Watcher
from embedded_vit.volume import Mask, Scan

__all__ = ["described"]


def described(
    scan: Scan, mask: Mask, measured: MeasuredMask, watcher: Watcher, contract: Contract, *, flat: bool
) -> dict[str, Any]:
    """Return the fields of a `Prediction` that sizes, brightness, certainty and pictures of a mask are.

    Args:
        scan: The scan.
        mask: On its grid.
        measured: Of the mask.
        watcher: Has seen all of the scan.
        contract: Of the network.
        flat: Whether the scan is a picture.
    """
    upright, upright_mask = scan.reoriented(contract.orientation), mask.reoriented(contract.orientation)
    shown = None if flat else preview(upright, upright_mask, measured.by_slice, contract, watcher.intensities)
    return {
        "volumes": structure_volumes(mask, measured.counts, contract.labels, flat=flat),
        "brightness": measured.brightness(contract.labels, contract.preprocessing.channels),
        "mean_probability": watcher.mean_probability(measured.counts),
        "overlay": picture_overlay(scan, mask, contract) if flat else None,
        "preview": shown,
        "probabilities": watcher.probabilities,
    }
