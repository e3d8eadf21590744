"""The channels and the labels that a data set's `dataset.json` states."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from embedded_vit.errors import DataSetError
from embedded_vit.io.json_file import read_json_object
from embedded_vit.labels import LabelSet

__all__ = ["DESCRIPTION_FILE", "channels_of", "labels_of", "modality_of", "read_description"]

DESCRIPTION_FILE = "dataset.json"
CT_NAME = re.compile(r"(ct|computed tomography)a?([^a-z].*)?", re.IGNORECASE)  # CT, CTA, CT_venous; not CTV, CBCT
MR_NAME = re.compile(r"t1|t2|flair|(?<![a-z])(mri?|pd|dwi|adc|swi|dce|bssfp|cine|b\d+)(?![a-z])", re.IGNORECASE)


def read_description(folder: Path) -> dict[str, Any]:
    """Read a folder's `dataset.json`.

    Raises:
        DataSetError: It is missing, too long, or is not a JSON object.
    """
    return read_json_object(folder / DESCRIPTION_FILE, DataSetError)


def channels_of(description: Mapping[str, Any], key: str, source: Path) -> tuple[str, ...]:
    """Return the names of a scan's channels, from `modality` (Decathlon) or `channel_names` (nnU-Net).

    Raises:
        DataSetError: They are not numbered 0, 1, ....
    """
    names = description.get(key)
    if isinstance(names, list):
        names = {str(number): name for number, name in enumerate(names)}
    if not isinstance(names, dict) or not names or set(names) != {str(number) for number in range(len(names))}:
        raise DataSetError(f'{source}: \'{key}\' must name the channels as {{"0": "CT"}}, with 0, 1, ... as keys')
    return tuple(str(names[str(number)]) for number in range(len(names)))


def modality_of(
    channels: tuple[str, ...], description: Mapping[str, Any], source: Path
) -> tuple[Literal["CT", "MR"], tuple[str, ...]]:
    """Return CT where every channel is a CT, whose numbers are HU; else MR, whose range is measured on each volume.

    Args:
        channels: Their names, which decide unless `intensities` does.
        description: The content of `dataset.json`.
        source: That file, for messages.

    Returns:
        The modality, and a remark where no channel's name says it.

    Raises:
        DataSetError: Some channels are CT and others are not, or `intensities` is neither CT nor MR.
    """
    stated = description.get("intensities")
    if stated is not None:
        if stated not in ("CT", "MR"):
            raise DataSetError(f'{source}: \'intensities\' must be "CT" (HU) or "MR", got {stated!r:.40}')
        return stated, ()
    computed = [bool(CT_NAME.fullmatch(name.strip())) for name in channels]
    if all(computed):
        return "CT", ()
    if any(computed):
        raise DataSetError(
            f"{source}: the channels {', '.join(channels)} are CT and other images, which one network does not take as "
            'they are; add "intensities": "MR" to have the range of each channel measured on each volume, HU or not'
        )
    unknown = [name for name in channels if not MR_NAME.search(name)]
    if not unknown:
        return "MR", ()
    return "MR", (
        f"{source}: channel '{unknown[0]}' says neither CT nor MR: taken as MR, the range is measured on each volume; "
        'add "intensities": "CT" if the numbers are HU, else "MR"',
    )


def labels_of(description: Mapping[str, Any], source: Path) -> LabelSet:
    """Return the label set from `labels`.

    They are {"0": "background", "1": "liver"} in the Decathlon and nnU-Net v1, {"background": 0, "liver": 1} in v2.

    Raises:
        DataSetError: The numbers have gaps, a label is a region of several numbers or to be ignored, or there is none.
    """
    stated = description.get("labels")
    if not isinstance(stated, dict):
        raise DataSetError(f'{source}: \'labels\' must be a mapping such as {{"background": 0, "liver": 1}}')
    if stated and all(str(key).isdecimal() for key in stated):
        return _label_set({str(name): number for number, name in stated.items()}, description, source, len(stated))
    regions = [name for name, number in stated.items() if isinstance(number, list)]
    if regions:
        raise DataSetError(f"{source}: label '{regions[0]}' is a region of several numbers; give every structure one")
    if "ignore" in stated:
        raise DataSetError(f"{source}: the label 'ignore' is not supported; leave such cases out")
    return _label_set(stated, description, source, len(stated))


def _label_set(number_of: Mapping[str, Any], description: Mapping[str, Any], source: Path, expected: int) -> LabelSet:
    """Number the structures as stated; `expected` notices a name that stands for two numbers."""
    try:
        names = {int(number): name for name, number in number_of.items()}
    except (TypeError, ValueError) as error:
        raise DataSetError(f"{source}: a label's number is not an integer") from error
    numbers = sorted(names)
    if len(names) != expected or numbers != list(range(len(names))):
        raise DataSetError(
            f"{source}: labels must be numbered 0 (background), 1, 2, ... without gaps or repeats, got "
            f"{', '.join(map(str, numbers))}; renumber the masks"
        )
    if not 2 <= len(names) <= 256:
        raise DataSetError(f"{source}: {len(names) - 1} structures besides background; 1 to 255 are expected")
    mirror = description.get("mirror", False)
    if not isinstance(mirror, bool):
        raise DataSetError(f"{source}: 'mirror' must be true or false (may an image be mirrored left to right?)")
    return LabelSet.from_names([names[number] for number in numbers[1:]], mirror=mirror)
