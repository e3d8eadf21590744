"""The way of a scan through a model file, written from docs/contract.md alone.

Nothing of the package is imported here: NumPy, nibabel's header and the page's words.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Written", "scan_axes", "upright"]

LETTERS = ("LR", "PA", "IS")  # of x, y and z: against the axis, along it
NEIGHBOURS = [offset for offset in product((-1, 0, 1), repeat=3) if any(offset)]


def nearest(ratio: float) -> int:
    return round(round(ratio, 3))


def reduce_matrix(padded: int, size: int) -> NDArray[np.float32]:
    scale = padded / size
    centre = (np.arange(size) + 0.5) * scale - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(padded) - centre[:, None]) / max(scale, 1))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def enlarge_matrix(source: int, padded: int) -> NDArray[np.float32]:
    matrix = np.zeros((padded, source), np.float32)
    for pixel in range(padded):
        place = min(max((pixel + 0.5) * source / padded - 0.5, 0), source - 1)
        low = min(int(place), source - 1)
        matrix[pixel, low] += 1 - (place - low)
        matrix[pixel, min(low + 1, source - 1)] += place - low
    return matrix


def spline_matrix(padded: int, size: int) -> NDArray[np.float32]:
    """The page's cubic spline, as the weights of each output pixel."""

    def mirrored(number: int) -> int:
        number = abs(number)
        return number if number < padded else 2 * (padded - 1) - number

    def bell(distance: float) -> float:
        if distance < 1:
            return 2 / 3 - distance**2 + distance**3 / 2
        return (2 - distance) ** 3 / 6 if distance < 2 else 0.0

    coefficients_to_pixels, samples = np.zeros((padded, padded)), np.zeros((size, padded))
    for pixel in range(padded):
        for offset, weight in ((-1, 1 / 6), (0, 4 / 6), (1, 1 / 6)):
            coefficients_to_pixels[pixel, mirrored(pixel + offset)] += weight
    for output in range(size):
        place = output * (padded - 1) / (size - 1)
        for knot in range(int(place) - 1, int(place) + 3):
            if bell(abs(place - knot)):
                samples[output, mirrored(knot)] += bell(abs(place - knot))
    return (samples @ np.linalg.inv(coefficients_to_pixels)).astype(np.float32)


def scan_axes(affine: NDArray[np.float64]) -> str:
    """The directions of a scan's three axes, a letter each: the page's rule for oblique scans."""
    matrix = affine[:3, :3] / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    left, _, right = np.linalg.svd(matrix)
    rotation = left @ right
    letters, free = ["", "", ""], [0, 1, 2]
    for column in sorted(range(3), key=lambda column: -max(abs(rotation[:, column]))):
        row = max(free, key=lambda row: abs(rotation[row, column]))
        free.remove(row)
        letters[column] = LETTERS[row][int(rotation[row, column] > 0)]
    return "".join(letters)


def upright(array: NDArray[Any], axes: str, wanted: str) -> NDArray[Any]:
    """Permute and flip an array whose axes run to `axes` until they run to `wanted`; no voxel changes."""
    opposite = {letter: pair for pair in LETTERS for letter in pair}
    order = [next(place for place, letter in enumerate(axes) if letter in opposite[letter_]) for letter_ in wanted]
    array = array.transpose(order)
    flips = tuple(
        slice(None, None, 1 if axes[place] == letter else -1) for place, letter in zip(order, wanted, strict=True)
    )
    return array[flips]


class Written:
    """A scan's way as the page has it.

    Args:
        facts: As `contract.json` holds them.
        scan: (channels, slices, rows, columns) stored numbers, axes turned.
    """

    def __init__(self, facts: dict[str, Any], scan: NDArray[Any]) -> None:
        self.facts, self.scan = facts, scan
        self.contract = self.facts["contract"]
        self.settings = self.contract["preprocessing"]
        self.spacing = self.facts["spacing_mm"] or (1.0, 1.0, 1.0)
        box = [self.box(axis) for axis in (2, 3)]
        side = max(length * spacing for (_, length), spacing in zip(box, self.spacing[1:], strict=True))
        given = self.settings["field_mm"] if self.facts["spacing_mm"] else None
        self.padded = [
            max(1 if given else length, nearest((given or side) / spacing))
            for (_, length), spacing in zip(box, self.spacing[1:], strict=True)
        ]
        begins = [first - (padded - length) // 2 for (first, length), padded in zip(box, self.padded, strict=True)]
        self.seen = [
            slice(max(0, begin), min(there, begin + padded))
            for begin, padded, there in zip(begins, self.padded, self.scan.shape[2:], strict=True)
        ]
        self.inside = [
            slice(seen.start - begin, seen.stop - begin) for seen, begin in zip(self.seen, begins, strict=True)
        ]

    @classmethod
    def of_folder(cls, folder: Path) -> Written:
        """From the files of test vectors."""
        return cls(json.loads((folder / "contract.json").read_text()), np.load(folder / "scan.npy"))

    def box(self, axis: int) -> tuple[int, int]:
        """The first pixel along an axis, and the pixels, of the part that is seen."""
        kind, others = self.settings["field_of_view"], tuple(other for other in (1, 2, 3) if other != axis)
        hounsfield = self.scan.astype(np.float64) * self.facts["slope"] + self.facts["intercept"]
        counts = {
            "slice": np.ones(self.scan.shape[axis], bool),
            "nonzero": (self.scan != 0).any(axis=(0, *others)),
            "body": (hounsfield > -500).any(axis=0, keepdims=True).mean(axis=(0, *others)) > 0.01,
        }[kind]
        places = np.flatnonzero(counts) if counts.any() else np.arange(self.scan.shape[axis])
        return int(places[0]), int(places[-1] - places[0] + 1)

    def ranges(self) -> list[tuple[float, float]]:
        if self.settings["window_hu"]:
            return [tuple(self.settings["window_hu"])] * len(self.scan)
        if self.settings["ranges"]:
            return [tuple(each) for each in self.settings["ranges"]]
        step = max(1, round((self.scan[0].size / 1_000_000) ** 0.5))
        found = []
        for channel in self.scan[:, :, ::step, ::step]:
            values = np.sort(channel[channel != 0].ravel() if channel.any() else channel.ravel()).astype(np.float64)
            if self.settings["deviations"]:
                mean = values.mean() * self.facts["slope"] + self.facts["intercept"]
                reach = self.settings["deviations"] * values.std() * abs(self.facts["slope"])
                found.append((mean - reach, mean + reach))
                continue
            bounds = []
            for percentile in self.settings["percentiles"]:
                place = (percentile if self.facts["slope"] > 0 else 100 - percentile) / 100 * (len(values) - 1)
                low = int(place)
                high = min(low + 1, len(values) - 1)
                value = values[low] + (values[high] - values[low]) * (place - low)
                bounds.append(value * self.facts["slope"] + self.facts["intercept"])
            found.append((bounds[0], bounds[1]))
        return found

    def inputs(self) -> NDArray[np.float32]:
        size = self.settings["image_size"]
        down, across = (
            (spline_matrix if self.settings["interpolation"] == "cubic" else reduce_matrix)(padded, size)[:, inside]
            for padded, inside in zip(self.padded, self.inside, strict=True)
        )
        channels = []
        for channel, (low, high) in zip(self.scan, self.ranges(), strict=True):
            real = channel.astype(np.float32) * np.float32(self.facts["slope"]) + np.float32(self.facts["intercept"])
            width = np.float32(high) - np.float32(low)
            real = real[:, self.seen[0], self.seen[1]]
            normalised = np.clip((real - np.float32(low)) / (width if width > 0 else np.float32(1)), 0, 1)
            channels.append((down @ normalised @ across.T - 0.5) / 0.5)
        reduced = np.stack(channels, axis=1)  # (slices, channels, S, S)
        if self.settings["context_slices"] == 1:
            return reduced
        step = 1
        if self.settings["context_mm"] and self.facts["spacing_mm"]:
            step = max(1, nearest(self.settings["context_mm"] / self.spacing[0]))
        last = len(reduced) - 1
        around = [[min(max(index + offset, 0), last) for offset in (-step, 0, step)] for index in range(last + 1)]
        return np.stack([np.concatenate([reduced[neighbour] for neighbour in each]) for each in around])

    def labels(self, logits: NDArray[np.float32]) -> NDArray[np.uint8]:
        down, across = (
            enlarge_matrix(logits.shape[-1], padded)[inside]
            for padded, inside in zip(self.padded, self.inside, strict=True)
        )
        labels = np.zeros((len(logits), *self.scan.shape[2:]), np.uint8)
        labels[:, self.seen[0], self.seen[1]] = (down @ logits @ across.T).argmax(axis=1)
        return labels

    def postprocessed(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        result = labels.copy()
        label_at = {place: int(labels[place]) for place in map(tuple, np.argwhere(labels).tolist())}
        components: dict[int, list[list[tuple[int, ...]]]] = {}
        while label_at:
            start, label = label_at.popitem()
            found = [start]
            for plane, row, column in found:  # which grows
                for down, along, across in NEIGHBOURS:
                    place = (plane + down, row + along, column + across)
                    if label_at.get(place) == label:
                        del label_at[place]
                        found.append(place)
            components.setdefault(label, []).append(found)
        shares = self.contract["postprocessing"]["smallest_component"]
        for structure in self.contract["labels"]["labels"]:
            each = components.get(structure["id"], [])
            least = shares.get(structure["name"], 0) * max(map(len, each), default=0)
            for component in each:
                if len(component) < least:
                    result[tuple(np.array(component).T)] = 0
        return result

    def sizes(self, labels: NDArray[np.uint8]) -> dict[str, Any]:
        """Unit, sizes of structures and of regions; the axes are perpendicular."""
        known, flat = self.facts["spacing_mm"] is not None, self.settings["modality"] == "picture"
        unit = ("mm2" if flat else "ml") if known else ("pixels" if flat else "voxels")
        voxel = {"ml": np.prod(self.spacing) / 1000, "mm2": self.spacing[1] * self.spacing[2]}.get(unit, 1)
        voxel = float(f"{voxel:.9g}")
        digits = {"ml": 3, "mm2": 6}.get(unit, 0)
        names = {each["id"]: each["name"] for each in self.contract["labels"]["labels"]}
        sizes = {name: round(float(np.sum(labels == number) * voxel), digits) for number, name in names.items()}
        regions = {
            region["name"]: round(sum(sizes[names[number]] for number in region["members"]), digits)
            for region in self.contract["labels"]["regions"]
        }
        return {"unit": unit, "sizes": sizes, "regions": regions}
