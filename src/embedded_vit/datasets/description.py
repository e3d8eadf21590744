"""The channels that a data set's `dataset.json` states, and the kind of its images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedded_vit.errors import DataSetError
from embedded_vit.io.json_file import read_json_object
from embedded_vit.preprocessing import Modality

__all__ = ["DESCRIPTION_FILE", "channels_of", "modality_of", "read_description"]

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
    channels: tuple[str, ...], description: Mapping[str, Any], source: Path, *, pictures: bool = False
) -> tuple[Modality, tuple[str, ...]]:
    """Return CT where every channel is a CT, whose numbers are HU; else MR, whose range is measured on each volume.

    Args:
        channels: Their names, which decide unless `intensities` does.
        description: The content of `dataset.json`.
        source: That file, for messages.
        pictures: Whether the images are picture files, whose modality is "picture" whatever is said.

    Returns:
        The modality, and a remark where no channel's name says it.

    Raises:
        DataSetError: Some channels are CT and others are not, or `intensities` is neither CT nor MR.
    """
    if pictures:
        return "picture", ()
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
