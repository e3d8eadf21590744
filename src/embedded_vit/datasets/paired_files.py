"""Images and masks that tell by their names, wherever they lie, which belong together.

    volume-0.nii, segmentation-0.nii      case_00000/imaging.nii.gz, segmentation.nii.gz
    Original/1.tif, Ground Truth/1.tif    benign (1).png, benign (1)_mask.png, benign (1)_mask_1.png

A name is read as words. Some mean a mask, some an image; the others are the case's. Where files are called alike in all
folders, the words of their folders count too. An image without a mask's name of its own is a channel of the case.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedded_vit.counted import counted
from embedded_vit.datasets.description import DESCRIPTION_FILE
from embedded_vit.datasets.file_data_set import CaseFiles, FileDataSet, data_set_of
from embedded_vit.datasets.label_scheme import LabelScheme, scheme_of
from embedded_vit.datasets.plain_folders import channels_in, scheme_in
from embedded_vit.errors import DataSetError
from embedded_vit.io.scan_source import data_suffix, same_format, scan_stem
from embedded_vit.labels import LabelSet

__all__ = ["has_pairs", "open_pairs"]

DEEPEST, MOST_FILES = 6, 200_000
WORD = re.compile(r"[a-z]+(?=[A-Z][a-z])|[A-Z][a-z]+(?=[A-Z])|\w+")  # masks of leftMask: left, mask
MASK_WORD = re.compile(
    r"masks?|msk|seg\d*|segmentations?|segm|labels?|labelmap|lbl|gt|ground|truth|groundtruth|manual\d?|annotations?|annot"
    r"|contours?|delineations?|(?:1st|2nd|3rd)ho"
)
IMAGE_WORD = re.compile(
    r"images?|imgs?|imaging|scans?|volumes?|vol|original|orig|raw|rawdata|derivatives|input|data|tr|ts|training|train"
    r"|testing|test|val|validation|png|tif|jpg|bmp|gif|ppm|t1w|ct"
)
READER = re.compile(r"(?:1st|2nd|3rd|first|second|third)(?:ho)?|ah|vk|observer\d?|reader\d?|rater\d?|expert\d?")
BEST_READER = re.compile(r"1st(?:ho)?|first|manual1?|ah|observer1|reader1|rater1|expert1")

Words = tuple[str, ...]


@dataclass(frozen=True)
class _File:
    """A file as its names read.

    Attributes:
        path: Where it lies.
        marks: Whether it is a mask.
        places: The words of each folder above it that are a case's, from the outermost.
        own: The words of its name that are a case's.
        kind: The other words: which of several masks of an image it is.
    """

    path: Path
    marks: bool
    places: tuple[Words, ...]
    own: Words
    kind: Words

    def key(self, levels: int) -> Words:
        """Return the words of its name and of some folders above it."""
        return (*(word for place in self.places[max(0, len(self.places) - levels) :] for word in place), *self.own)


@dataclass
class _Case:
    """The files of a case: channel -> image, kind of mask -> masks."""

    images: dict[Words, Path]
    masks: dict[Words, list[Path]]


def has_pairs(folder: Path) -> bool:
    """Whether some mask below a folder belongs to an image by its name."""
    return bool(_cases(folder)[0])


def open_pairs(folder: Path, description: Mapping[str, Any]) -> FileDataSet:
    """Open a data set; of the voxels only those of some masks are read, where no `dataset.json` names the labels.

    Args:
        folder: Holds images and masks, at any depth.
        description: Its `dataset.json`; empty where there is none.

    Raises:
        DataSetError: The masks do not look like masks.
    """
    cases, remarks = _cases(folder)
    names, more = _structures(cases)
    remarks += more
    channels = Counter(tuple(sorted(case.images)) for case in cases.values()).most_common(1)[0][0]
    files: dict[str, CaseFiles] = {}
    unlabelled: dict[str, tuple[int, ...]] = {}
    for name, case in sorted(cases.items()):
        if set(case.images) != set(channels):
            remarks.append(f"{next(iter(case.images.values()))}: left out: {name} has not the channels of the others")
            continue
        images = tuple(case.images[channel] for channel in channels)
        if len(names) == 1 and all(len(paths) == 1 for paths in case.masks.values()):
            files[name] = CaseFiles(images, next(iter(case.masks.values()))[0])
            continue
        numbers = {kind: names.index(kind) + 1 for kind in case.masks}
        files[name] = CaseFiles(images, parts={numbers[kind]: tuple(paths) for kind, paths in case.masks.items()})
        if missing := tuple(number for number, kind in enumerate(names, start=1) if kind not in case.masks):
            unlabelled[name] = missing
    source = folder / DESCRIPTION_FILE
    first = next(iter(files.values()))
    stated, found, said = _channels(first, channels, description, source)
    remarks += said
    if "labels" in description:
        scheme = scheme_of(description, source)
    elif len(names) > 1 or any(case.parts for case in files.values()):
        scheme = LabelScheme.plain(LabelSet.from_names([" ".join(kind) or "structure" for kind in names]))
    else:
        scheme = scheme_in([case.labels for case in files.values() if case.labels is not None], folder)
        remarks.append(f"{folder}: structures as the masks number them: {', '.join(scheme.labels.names)}; "
                       f"{DESCRIPTION_FILE} would name them")  # fmt: skip
    return data_set_of(folder, stated, scheme, files, "pairs of files", description={**found, **description},
                       remarks=remarks, unlabelled=unlabelled)  # fmt: skip


def _channels(
    first: CaseFiles, channels: tuple[Words, ...], description: Mapping[str, Any], source: Path
) -> tuple[tuple[str, ...], Mapping[str, Any], list[str]]:
    """Return the names of the channels, what is known of the intensities, and remarks.

    Raises:
        DataSetError: `dataset.json` names another number of channels than a case has files.
    """
    if len(channels) > 1 and not {"channel_names", "modality"} & description.keys():
        return tuple("_".join(channel) or "image" for channel in channels), {"intensities": "MR"}, []
    stated, found, said = channels_in(first.images[0], description, source)
    if len(stated) != len(channels) > 1:
        raise DataSetError(f"{source}: names {counted(len(stated), 'channel')}, a case has {len(channels)} files")
    return stated, found, said


def _cases(folder: Path) -> tuple[dict[str, _Case], list[str]]:
    """Put masks and images together by their words; also return what is left out, a sentence each."""
    paths = _files(folder)
    above = Path(os.path.commonpath([path.parent for path in paths])) if paths else folder
    found = [_read_name(path, folder, above) for path in paths]
    masks, images = [file for file in found if file.marks], [file for file in found if not file.marks]
    if not masks or not images:
        return {}, []
    deepest = max(len(file.places) for file in images)
    levels = next((level for level in range(deepest + 1) if _tells_apart(images, level)), deepest)
    called = Counter(file.key(levels) for file in images)
    by_key = {file.key(levels): file for file in images if called[file.key(levels)] == 1}
    twice = [file.path for file in images if called[file.key(levels)] > 1]
    longer: dict[Words, dict[Words, Path]] = defaultdict(dict)  # the beginning of a key -> rest -> image
    for key, file in by_key.items():
        for length in range(1, len(key)):
            longer[key[:length]][key[length:]] = file.path
    cases: dict[str, _Case] = {}
    alone: list[Path] = []
    for mask in masks:
        owner: Words
        channels: dict[Words, Path]
        for level in range(levels, deepest + 1):
            key = mask.key(level)
            owner, channels = (), {}
            # an image of the same words; several that have more words are channels; or the mask has more words
            if key and key not in by_key and key in longer:
                owner, channels = key, longer[key]
            elif owner := _owner(mask.path, key, by_key):
                channels = {(): by_key[owner].path}
            if owner:
                break
        else:
            alone.append(mask.path)
            continue
        case = cases.setdefault("_".join(owner), _Case(dict(channels), {}))
        case.masks.setdefault((*mask.kind, *key[len(owner) :]), []).append(mask.path)
    used = {path for case in cases.values() for path in case.images.values()}
    without = [file.path for file in images if file.path not in used and file.path not in twice]
    doubled = [
        f"{path}: left out: another image is called alike, or alike but for spaces and signs; rename one"
        for path in twice
    ]
    return cases, [*doubled, *_left_out(without, "mask"), *_left_out(alone, "image")]


def _owner(mask: Path, key: Words, images: Mapping[Words, _File]) -> Words:
    """Return the words of the image that a mask belongs to; () where there is none.

    A number more than the image has may be another case's: it only counts the masks of one image if it stands behind
    the word for a mask, as in `benign (1)_mask_1` of `benign (1)`.
    """
    owner = next((key[:length] for length in range(len(key), 0, -1) if key[:length] in images), ())
    if not any(word.isdecimal() for word in key[len(owner) :]):
        return owner
    name, image = scan_stem(mask), scan_stem(images[owner].path) if owner else ""
    rest = _words(name[len(image) :]) if image and name.startswith(image) else ()
    return owner if rest and _marks(rest[0]) else ()


def _left_out(paths: list[Path], partner: str) -> list[str]:
    if not paths:
        return []
    others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return [f"{paths[0]}{others}: left out: no {partner} of that name"]


def _structures(cases: dict[str, _Case]) -> tuple[list[Words], list[str]]:
    """Tell which masks of one image are structures, pieces of one, or the same drawn by several readers.

    Returns:
        The kinds of masks, one per structure, after `cases` was changed so that it holds no others; and remarks.
    """
    kinds = Counter(kind for case in cases.values() for kind in case.masks)
    common = set.intersection(*(set(kind) for kind in kinds))
    read = {kind: tuple(word for word in kind if word not in common) for kind in kinds}
    remarks = []
    readers = [kind for kind in kinds if all(_marks(word) or READER.fullmatch(word.lower()) for word in kind)]
    if len(readers) > 1:
        best = max(readers, key=lambda kind: (sum(map(_is_first_reader, kind)), kinds[kind]))
        left = ", ".join(" ".join(kind) for kind in readers if kind != best)
        remarks.append(f"masks called '{' '.join(best)}' are taken; left out: {left}")
        for case in cases.values():
            case.masks = {kind: paths for kind, paths in case.masks.items() if kind == best or kind not in readers}
        for name in [name for name, case in cases.items() if not case.masks]:
            del cases[name]
    for case in cases.values():
        named: dict[Words, list[Path]] = defaultdict(list)
        for kind, paths in case.masks.items():
            structure = tuple(word for word in read[kind] if not (word.isdecimal() or _marks(word)))
            named[structure] += paths
        case.masks = dict(named)
    return sorted({kind for case in cases.values() for kind in case.masks}), remarks


def _tells_apart(images: list[_File], levels: int) -> bool:
    keys = [file.key(levels) for file in images]
    return all(keys) and len(set(keys)) == len(keys)


def _read_name(path: Path, folder: Path, above: Path) -> _File:
    """Read the words of a file's name; `above` holds all files, so that its name makes none of them a mask."""
    own, every_file = _words(scan_stem(path)), len(above.relative_to(folder).parts)
    places = [_words(place) for place in path.relative_to(folder).parts[:-1]]
    places[:every_file] = [_of_case(place) for place in places[:every_file]]
    every = [*own, *(word for place in places for word in place)]
    marks = any(map(_marks, every))
    last_mask = next((place for place in reversed(places) if any(map(_marks, place))), ())
    kind = [*last_mask, *(word for word in own if _marks(word))]
    return _File(path, marks, tuple(_of_case(place) for place in places), _of_case(own), tuple(kind) if marks else ())


def _of_case(words: Iterable[str]) -> Words:
    return tuple(word for word in words if not (_marks(word) or IMAGE_WORD.fullmatch(word.lower())))


def _marks(word: str) -> bool:
    return MASK_WORD.fullmatch(word.lower()) is not None


def _is_first_reader(word: str) -> bool:
    return BEST_READER.fullmatch(word.lower()) is not None


def _words(name: str) -> Words:
    return tuple(word for part in re.split(r"[\W_]+", name) for word in WORD.findall(part))


def _files(folder: Path) -> list[Path]:
    """Return the images and masks below a folder, of one format, without what lies in folders that it holds alone."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        here = Path(place)
        deep = len(here.relative_to(folder).parts) >= DEEPEST or len(found) > MOST_FILES
        folders[:] = [] if deep else sorted(name for name in folders if not name.startswith("."))
        found += [here / name for name in sorted(names) if data_suffix(name) and not name.startswith(".")]
    return same_format(found)
