"""A picture that shows a result to people: each structure where it is largest, and a table of volumes.

Nothing of the patient is drawn; who that is stands in the header of the file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from embedded_vit.about import RESEARCH_USE_ONLY, __version__
from embedded_vit.contract import Contract
from embedded_vit.labels import Label
from embedded_vit.overlay import overlay
from embedded_vit.predict.predictor import Prediction
from embedded_vit.preprocessing import Intensities
from embedded_vit.slicing import PLANES, Orientation
from embedded_vit.volume import Mask, Scan

__all__ = ["draw_page", "largest_slices"]

TILE, CAPTION, COLUMNS, MARGIN = 320, 28, 4, 12  # pixels; pictures a row
LINE = 26  # height of a line of the table
PAPER, INK, FAINT, WARNING = (16, 16, 16), (240, 240, 240), (170, 170, 170), (255, 190, 90)
WIDTH = COLUMNS * TILE + (COLUMNS + 1) * MARGIN
LEFT_OF_PICTURE: dict[Orientation, str] = {"SLP": "right", "PLI": "right", "LPI": "front"}
TABLE = (40, 420, 600, 720)  # where the columns of the table begin; numbers end at the third


def largest_slices(upright: Mask, classes: int) -> dict[int, int]:
    """Return for each label of a mask the slice in which it has most voxels.

    Args:
        upright: The mask, in the orientation whose slices are meant.
        classes: The number of labels, background included.

    Returns:
        Label -> index of the slice, without labels that are not in the mask.
    """
    counts = np.stack(
        [np.bincount(upright.get(index).ravel(), minlength=256)[:classes] for index in range(upright.shape[0])]
    )  # (slices, classes)
    return {label: int(counts[:, label].argmax()) for label in range(1, classes) if counts[:, label].any()}


def draw_page(prediction: Prediction, scan: Scan, contract: Contract) -> NDArray[np.uint8]:
    """Draw the page of a result.

    Args:
        prediction: The mask and what is said of it.
        scan: What it was made of.
        contract: Of the model.

    Returns:
        (height, width, 3) uint8.
    """
    upright_scan, upright_mask = scan.reoriented(contract.orientation), prediction.mask.reoriented(contract.orientation)
    places = largest_slices(upright_mask, prediction.labels.classes)
    shown = [label for label in prediction.labels.labels if label.id in places]
    rows = -(-len(shown) // COLUMNS)
    top = 3 * LINE + 2 * MARGIN
    table = top + rows * (TILE + CAPTION + MARGIN)
    page = Image.new("RGB", (WIDTH, table + (len(prediction.labels.labels) + 3) * LINE + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    _title(draw, prediction)
    intensities = Intensities.of(upright_scan, contract.preprocessing)
    for number, label in enumerate(shown):
        row, column = divmod(number, COLUMNS)
        corner = (MARGIN + column * (TILE + MARGIN), top + row * (TILE + CAPTION + MARGIN))
        index = places[label.id]
        grey = np.rint(intensities.normalise(upright_scan.intensities(index))[0] * 255).astype(np.uint8)
        picture = overlay(grey, upright_mask.get(index), prediction.labels)
        page.paste(_tile(picture, upright_mask.spacing_mm[1:]), (corner[0], corner[1] + CAPTION))
        caption = f"{label.name[:24]}, {PLANES[contract.orientation]} slice {index + 1} of {upright_mask.shape[0]}"
        draw.text(corner, caption, INK, _font(16))
    _table(draw, prediction, table, contract.orientation)
    return np.asarray(page)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _tile(picture: NDArray[np.uint8], spacing_mm: Sequence[float]) -> Image.Image:
    """Return a slice (rows, columns, 3) as radiologists look at it, with square pixels, in the middle of a tile."""
    height_mm, width_mm = picture.shape[1] * spacing_mm[1], picture.shape[0] * spacing_mm[0]
    scale = TILE / max(height_mm, width_mm)
    size = max(1, round(width_mm * scale)), max(1, round(height_mm * scale))
    turned = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 0, 2))).resize(size, Image.Resampling.BILINEAR)
    tile = Image.new("RGB", (TILE, TILE))
    tile.paste(turned, ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    return tile


def _title(draw: ImageDraw.ImageDraw, prediction: Prediction) -> None:
    draw.text((MARGIN, MARGIN), RESEARCH_USE_ONLY, WARNING, _font(20))
    model = f"{prediction.model[:60]}, embedded-vit {__version__}, model SHA-256 {prediction.model_sha256[:16]}"
    draw.text((MARGIN, MARGIN + LINE), model, INK, _font(16))
    if prediction.forced:
        forced = "This scan was refused: it is outside what the model is made for. The mask was forced."
        draw.text((MARGIN, MARGIN + 2 * LINE), forced, WARNING, _font(16))


def _table(draw: ImageDraw.ImageDraw, prediction: Prediction, top: int, orientation: Orientation) -> None:
    """Draw the volumes of all structures, and what is doubtful of each."""
    for place, text in zip(TABLE[:2], ("structure", f"volume, {prediction.unit}"), strict=False):
        draw.text((place, top), text, FAINT, _font(16))
    draw.text((TABLE[3], top), "remarks", FAINT, _font(16))
    for number, label in enumerate(prediction.labels.labels, start=1):
        height = top + number * LINE
        draw.rectangle((MARGIN, height + 2, MARGIN + 18, height + 18), label.rgb)
        draw.text((TABLE[0], height), label.name[:40], INK, _font(16))
        volume = prediction.volumes[label.name]
        shown = f"{volume:.0f}" if prediction.unit == "voxels" else f"{volume:.1f}" if volume >= 1 else f"{volume:.2g}"
        draw.text((TABLE[1] + 110, height), shown, INK, _font(16), anchor="ra")
        draw.text((TABLE[3], height), "; ".join(_remarks(label, prediction, volume)), WARNING, _font(16))
    foot = f"On the left of each picture is the patient's {LEFT_OF_PICTURE[orientation]}. Check the mask itself."
    draw.text((MARGIN, top + (len(prediction.labels.labels) + 1) * LINE + MARGIN), foot, FAINT, _font(14))


def _remarks(label: Label, prediction: Prediction, volume: float) -> list[str]:
    remarks = [] if volume else ["not found"]
    if label.name in prediction.cut_off:
        remarks.append("at the border of the scan, perhaps cut off")
    if prediction.judgement is not None:
        remarks += prediction.judgement.implausible.get(label.name, ())
    return remarks
