"""Pictures of the best, the median and the worst slice: image, truth and prediction."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

from embedded_vit.contract import Contract
from embedded_vit.preprocessing import Intensities
from embedded_vit.volume import LabelMap, Volume, labelled_box

__all__ = ["PictureCollector", "SlicePicture", "not_black", "png_address", "png_data_uri", "slice_dice"]

MARGIN = 4  # pixels that are shown around what is not black


@dataclass(frozen=True, eq=False)
class SlicePicture:
    """A slice in radiological view, without black margins: anterior up, the patient's right on the left.

    Attributes:
        case: The case's name.
        index: The slice's number in training orientation, from 0.
        dice: Mean over the structures in the slice's truth or prediction.
        seen: (height, width) uint8, or (height, width, 3) where the scan is a coloured picture.
        truth, prediction: (height, width) uint8 labels.
        height_to_width: Ratio of the sides in mm.
    """

    case: str
    index: int
    dice: float
    seen: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    height_to_width: float


class PictureCollector:
    """Collects the slices from which the best, the median and the worst are chosen, at most three of each case.

    A slice counts if its truth shows at least half as many structures as the fullest slice of its case: a slice with
    the tip of one organ says little about a network.
    """

    def __init__(self, contract: Contract) -> None:
        self._preprocessing = contract.preprocessing
        self._labels = len(contract.labels.labels)
        self._kept: list[SlicePicture] = []
        self._all_dice: list[float] = []

    def add(self, case: str, volume: Volume, truth: LabelMap, prediction: LabelMap) -> None:
        """Keep the best, the median and the worst slice of a case."""
        codes = self._preprocessing.orientation
        volume, truth, prediction = volume.reoriented(codes), truth.reoriented(codes), prediction.reoriented(codes)
        dice, shown = slice_dice(prediction.array, truth.array, self._labels)
        candidates = np.flatnonzero((shown > 0) & (2 * shown >= shown.max()))
        if not candidates.size:
            return
        self._all_dice.extend(float(value) for value in dice[candidates])
        ranked = candidates[np.argsort(dice[candidates], kind="stable")]
        intensities = Intensities.of(volume, self._preprocessing)
        for index in dict.fromkeys(int(ranked[place]) for place in (0, len(ranked) // 2, -1)):
            channels = intensities.normalise(volume.intensities(index))
            coloured = self._preprocessing.modality == "picture" and len(channels) == 3
            part = not_black(channels, truth.array[index], prediction.array[index])
            # Rows run to the patient's left and columns to posterior: transposed, they run right and down.
            seen = (channels if coloured else channels[:1])[(slice(None), *part)].T
            _, row_mm, column_mm = volume.spacing_mm
            self._kept.append(
                SlicePicture(
                    case=case,
                    index=index,
                    dice=float(dice[index]),
                    seen=np.rint((seen if coloured else seen[..., 0]) * 255).astype(np.uint8),
                    truth=np.array(truth.array[index][part].T),
                    prediction=np.array(prediction.array[index][part].T),
                    height_to_width=(seen.shape[0] * column_mm) / (seen.shape[1] * row_mm),
                )
            )

    def chosen(self) -> dict[str, SlicePicture]:
        """Return the best, the median and the worst slice by name; fewer where there are not three."""
        if not self._kept:
            return {}
        median = float(np.median(self._all_dice))
        pictures = {
            "Best": max(self._kept, key=lambda picture: picture.dice),
            "Median": min(self._kept, key=lambda picture: abs(picture.dice - median)),
            "Worst": min(self._kept, key=lambda picture: picture.dice),
        }
        return {
            name: picture for name, picture in pictures.items() if name == "Best" or picture is not pictures["Best"]
        }


def not_black(channels: NDArray[np.float32], *masks: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Return the rows and columns outside which a slice is black and no mask has a structure, with a small margin.

    Args:
        channels: (channels, rows, columns) intensities from 0 to 1.
        masks: (rows, columns) labels.
    """
    shown: NDArray[np.bool_] = np.any(channels > 0, axis=0)
    for mask in masks:
        shown |= mask > 0
    if not shown.any():
        return slice(None), slice(None)
    rows, columns = (slice(max(0, int(box.start) - MARGIN), int(box.stop) + MARGIN) for box in labelled_box(shown))
    return rows, columns


def slice_dice(
    prediction: NDArray[np.uint8], truth: NDArray[np.uint8], labels: int
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the mean Dice of each slice, and how many structures its truth shows.

    Args:
        prediction, truth: (slices, rows, columns) uint8.
        labels: The number of structures; they are numbered from 1.

    Returns:
        (slices,) mean over the structures in truth or prediction, NaN where there are none, and (slices,) counts.
    """
    dice = np.full(len(truth), np.nan)
    shown = np.zeros(len(truth), np.intp)
    for index, (predicted, true) in enumerate(zip(prediction, truth, strict=True)):
        sizes = [
            np.bincount(mask.ravel(), minlength=labels + 1)[1:] for mask in (predicted, true, true[predicted == true])
        ]
        total = sizes[0] + sizes[1]
        shown[index] = np.count_nonzero(sizes[1])
        if total.any():
            dice[index] = np.mean(2 * sizes[2][total > 0] / total[total > 0])
    return dice, shown


def png_data_uri(picture: NDArray[np.uint8]) -> str:
    """Return a picture, (height, width) grey or (height, width, 3) colour, as an address that holds its PNG."""
    colour = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    file = io.BytesIO()
    imsave(file, colour, format="png")
    return png_address(file.getvalue())


def png_address(png: bytes) -> str:
    """Return an address (a data URI) that holds a PNG file."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
