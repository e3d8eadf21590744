"""The channels and the labels that a data set's `dataset.json` states."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from embedded_vit.errors import DataSetError
from embedded_vit.io.json_file import read_json_object
from embedded_vit.labels import LabelSet

__all__ = ["DESCRIPTION_FILE", "channels_of", "labels_by_name", "labels_by_number", "modality_of", "read_description"]

DESCRIPTION_FILE = "dataset.json"


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
    if not isinstance(names, dict) or not names or set(names) != {str(number) for number in range(len(names))}:
        raise DataSetError(f'{source}: \'{key}\' must name the channels as {{"0": "CT"}}, with 0, 1, ... as keys')
    return tuple(str(names[str(number)]) for number in range(len(names)))


def modality_of(channels: tuple[str, ...]) -> Literal["CT", "MR"]:
    """Return CT where every channel is a CT, whose numbers are HU; else MR, whose range is measured on each volume."""
    return "CT" if all(name.strip().upper() == "CT" for name in channels) else "MR"


def labels_by_number(description: Mapping[str, Any], source: Path) -> LabelSet:
    """Return the label set from the Decathlon's `labels`: {"0": "background", "1": "liver"}.

    Raises:
        DataSetError: The numbers have gaps, or there is no structure.
    """
    stated = description.get("labels")
    if not isinstance(stated, dict):
        raise DataSetError(f'{source}: \'labels\' must be a mapping such as {{"0": "background", "1": "liver"}}')
    return _label_set({str(name): number for number, name in stated.items()}, description, source, len(stated))


def labels_by_name(description: Mapping[str, Any], source: Path) -> LabelSet:
    """Return the label set from nnU-Net's `labels`: {"background": 0, "liver": 1}.

    Raises:
        DataSetError: The numbers have gaps, a label is a region of several numbers or to be ignored, or there is none.
    """
    stated = description.get("labels")
    if not isinstance(stated, dict):
        raise DataSetError(f'{source}: \'labels\' must be a mapping such as {{"background": 0, "liver": 1}}')
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
