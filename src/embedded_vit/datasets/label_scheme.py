"""What the numbers of a data set's masks stand for: structures, regions, what is ignored and what nobody marked.

    "labels": {"background": 0, "necrosis": 1, "oedema": 2, "enhancing": 3, "ignore": 4}
    "labels": {"background": 0, "whole tumour": [1, 2, 3], "core": [1, 3], "enhancing": [3]}      regions, as nnU-Net
    "regions": {"whole tumour": ["necrosis", "oedema", "enhancing"]}                              beside structures
    "unlabelled": {"pt_7": ["larynx"]}                        in this case nobody marked this structure

A network learns structures, which exclude each other; a region is scored beside them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embedded_vit.config import nearest_name
from embedded_vit.errors import DataSetError, FileFormatError
from embedded_vit.labels import IGNORED, LabelSet, Region
from embedded_vit.volume import LabelMap

__all__ = ["LabelScheme", "scheme_of", "spelled", "unlabelled_of"]

IGNORE_NAME = "ignore"  # nnU-Net's
FULL_WHITE = 255  # what programs that draw pictures store for "inside"
UNKNOWN = -1


@dataclass(frozen=True)
class LabelScheme:
    """The labels of a data set, and the numbers that its files store for them.

    Attributes:
        labels: The structures.
        stored: Number in the files -> label, `IGNORED` where nobody is to look; background, 0, is in it.
    """

    labels: LabelSet
    stored: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def plain(cls, labels: LabelSet, *, ignored: int | None = None) -> LabelScheme:
        """Return the scheme of files that store the labels themselves."""
        stored = {number: number for number in range(labels.classes)}
        return cls(labels, stored if ignored is None else stored | {ignored: IGNORED})

    @property
    def ignores(self) -> bool:
        """Whether some voxels may be left out of loss and metrics."""
        return IGNORED in self.stored.values()

    def numbers(self, names: Collection[str], source: Path) -> list[int]:
        """Return the numbers of the structures that a user chose by their names; errors as `chosen`."""
        return structure_numbers(names, self.labels, source, "--structures")

    def chosen(self, names: Collection[str], source: Path) -> LabelScheme:
        """Return the scheme of some structures; the others become background.

        Args:
            names: The structures, in the order that they get.
            source: The data set's folder, for messages.

        Raises:
            DataSetError: There is no structure of that name.
        """
        numbers = self.numbers(names, source)
        renumbered = {number: new for new, number in enumerate(numbers, start=1)}
        labels = LabelSet.from_names([self.labels.names[number - 1] for number in numbers], mirror=self.labels.mirror)
        regions = tuple(
            Region(name=region.name, members=tuple(renumbered[member] for member in region.members))
            for region in self.labels.regions
            if set(region.members) <= set(numbers)
        )
        stored = {file: label if label == IGNORED else renumbered.get(label, 0) for file, label in self.stored.items()}
        return LabelScheme(labels.model_copy(update={"regions": regions}), stored)

    def apply(self, mask: LabelMap) -> LabelMap:
        """Return a mask in labels.

        A mask of 0 and 255 in a data set of one structure is understood: 255 is the structure.

        Raises:
            FileFormatError: A number stands for nothing.
        """
        found = {int(number) for number in np.flatnonzero(mask.counts())}
        stored = dict(self.stored)
        if len(self.labels.labels) == 1 and found <= {0, FULL_WHITE} and FULL_WHITE not in stored:
            stored[FULL_WHITE] = 1
        if unknown := sorted(found - set(stored)):
            raise FileFormatError(self._unknown(unknown, found, mask.source))
        if all(stored[number] == number for number in found):
            return mask
        table = np.zeros(256, np.uint8)
        table[list(stored)] = list(stored.values())
        labels = np.empty_like(mask.array)  # in the memory order of the mask
        np.take(table, mask.array, out=labels)
        return LabelMap(labels, mask.affine, spacing_known=mask.spacing_known, source=mask.source)

    def _unknown(self, unknown: list[int], found: set[int], source: str) -> str:
        if len(self.labels.labels) == 1 and len(found) > 2 and FULL_WHITE in found:
            return (
                f"{source}: holds {len(found)} numbers from 0 to 255, as a mask with soft edges does; 0 and 255 alone, "
                "or 0 and 1, are expected: save it without smoothing"
            )
        last = max(number for number in self.stored if self.stored[number] != IGNORED)
        return (
            f"{source}: holds label {unknown[-1]}; the data set's labels end at {last} ({self.labels.names[-1]}); "
            "correct the mask, or name the label in dataset.json"
        )


def scheme_of(description: Mapping[str, Any], source: Path) -> LabelScheme:
    """Read the labels that a `dataset.json` states.

    They are {"0": "background", "1": "liver"} in the Decathlon and nnU-Net v1, {"background": 0, "liver": 1} in v2.

    Raises:
        DataSetError: The numbers have gaps, a region names what is not there, or there is no structure.
    """
    stated = description.get("labels")
    if not isinstance(stated, dict):
        raise DataSetError(f'{source}: \'labels\' must be a mapping such as {{"background": 0, "liver": 1}}')
    if stated and all(str(key).isdecimal() for key in stated):
        number_of: dict[str, Any] = {str(name): number for number, name in stated.items()}
        if len(number_of) != len(stated):
            raise DataSetError(f"{source}: two labels have one name; give each its own")
    else:
        number_of = {str(name): number for name, number in stated.items()}
    lists = {name: _numbers(value, name, source) for name, value in number_of.items() if isinstance(value, list)}
    single = {name: _number(value, source) for name, value in number_of.items() if name not in lists}
    ignored = single.pop(IGNORE_NAME, None)
    single |= _unnamed(lists, set(single.values()))
    labels = _label_set(single, description, source)
    lists |= _stated_regions(description, labels, source)
    own = {(number, name) for name, number in single.items()}
    regions = tuple(
        Region(name=name, members=members)
        for name, members in lists.items()
        if len(members) > 1 or (members[0], name) not in own
    )
    if ignored is not None and not labels.classes <= ignored <= IGNORED:
        raise DataSetError(
            f"{source}: the label 'ignore' is {ignored}; a number above the structures' and up to 255 is expected"
        )
    return LabelScheme.plain(labels.model_copy(update={"regions": regions}), ignored=ignored)


def unlabelled_of(
    description: Mapping[str, Any], labels: LabelSet, cases: Collection[str], source: Path
) -> dict[str, tuple[int, ...]]:
    """Return case -> numbers of the structures that nobody marked in it, from `unlabelled`.

    Raises:
        DataSetError: It is not a mapping of that form, or names a case or a structure that is not there.
    """
    stated = description.get("unlabelled", {})
    if not isinstance(stated, dict) or not all(isinstance(names, list) for names in stated.values()):
        raise DataSetError(f'{source}: \'unlabelled\' must be {{"CASE": ["STRUCTURE", ...]}}')
    for case in stated:
        if case not in cases:
            known = nearest_name(case, sorted(cases)[:20])
            raise DataSetError(f"{source}: 'unlabelled' names the case '{case}'{known}")
    return {
        case: tuple(sorted(structure_numbers([str(name) for name in names], labels, source, "'unlabelled'")))
        for case, names in stated.items()
    }


def structure_numbers(names: Collection[str], labels: LabelSet, source: Path, where: str) -> list[int]:
    """Return the numbers of structures by their names; capitals and underscores do not matter.

    Raises:
        DataSetError: There is no structure of that name, or one is named twice.
    """
    known = {spelled(name): number for number, name in enumerate(labels.names, start=1)}
    for name in names:
        if spelled(name) not in known:
            raise DataSetError(f"{source}: {where} names '{name}'{nearest_name(name, labels.names)}")
    numbers = [known[spelled(name)] for name in names]
    if len(set(numbers)) != len(numbers) or not numbers:
        raise DataSetError(f"{source}: {where} names {'a structure twice' if numbers else 'no structure'}")
    return numbers


def spelled(name: str) -> str:
    """Return a structure's name without capitals, underscores and hyphens, by which names are compared."""
    return name.casefold().replace("_", " ").replace("-", " ").strip()


def _number(value: object, source: Path) -> int:
    try:
        return int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError) as error:  # as of infinity
        raise DataSetError(f"{source}: a label's number is not an integer") from error


def _numbers(values: list[Any], name: str, source: Path) -> tuple[int, ...]:
    numbers = tuple(sorted({_number(value, source) for value in values}))
    if not numbers or numbers[0] < 1:
        raise DataSetError(f"{source}: the region '{name}' must list numbers of structures, 1 or above")
    return numbers


def _unnamed(regions: Mapping[str, tuple[int, ...]], named: set[int]) -> dict[str, int]:
    """Name the numbers that only regions name, by the smallest region that holds them."""
    found: dict[str, int] = {}
    for number in sorted({number for members in regions.values() for number in members} - named):
        holders = sorted((len(members), name) for name, members in regions.items() if number in members)
        size, smallest = holders[0]
        name = smallest if size == 1 else f"rest of {smallest}"
        found[name if name not in found else f"{name} {number}"] = number
    return found


def _stated_regions(description: Mapping[str, Any], labels: LabelSet, source: Path) -> dict[str, tuple[int, ...]]:
    """Return the regions of the key `regions`: name -> names or numbers of structures."""
    stated = description.get("regions", {})
    if not isinstance(stated, dict) or not all(isinstance(members, list) for members in stated.values()):
        raise DataSetError(f'{source}: \'regions\' must be {{"REGION": ["STRUCTURE", ...]}}')
    regions = {}
    for name, members in stated.items():
        if all(isinstance(member, str) for member in members):
            regions[str(name)] = tuple(sorted(structure_numbers(members, labels, source, f"the region '{name}'")))
        else:
            regions[str(name)] = _numbers(members, str(name), source)
        if regions[str(name)][-1] >= labels.classes:
            raise DataSetError(f"{source}: the region '{name}' holds a number above {labels.classes - 1}")
    return regions


def _label_set(number_of: Mapping[str, int], description: Mapping[str, Any], source: Path) -> LabelSet:
    """Number the structures as stated."""
    names = {number: name for name, number in number_of.items()}
    numbers = sorted(number_of.values())
    if numbers != list(range(len(numbers))):
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
