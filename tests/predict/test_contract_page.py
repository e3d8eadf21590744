"""docs/contract.md, implemented from the page alone in plain NumPy, reproduces the test vectors.

Nothing of the package's preprocessing, labelling or postprocessing is imported here.
"""

from __future__ import annotations

import json
from collections import deque
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifact_fixtures import threshold_graph, threshold_manifest
from numpy.typing import NDArray

from embedded_vit.artifact.manifest import sealed
from embedded_vit.errors import OutputError
from embedded_vit.labels import LabelSet
from embedded_vit.postprocessing import Postprocessing
from embedded_vit.predict.vectors import write_test_vectors
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.volume import Volume


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


class Written:
    """A scan's way as the page has it, from the files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.facts = json.loads((folder / "contract.json").read_text())
        self.contract = self.facts["contract"]
        self.settings = self.contract["preprocessing"]
        self.scan = np.load(folder / "scan.npy")
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
            reduce_matrix(padded, size)[:, inside] for padded, inside in zip(self.padded, self.inside, strict=True)
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
        result, seen = labels.copy(), labels == 0
        components: dict[int, list[list[tuple[int, ...]]]] = {}
        for start in product(*map(range, labels.shape)):
            if seen[start]:
                continue
            label, found, queue = int(labels[start]), [], deque([start])
            seen[start] = True
            while queue:
                voxel = queue.popleft()
                found.append(voxel)
                for offset in product((-1, 0, 1), repeat=3):
                    place = tuple(a + b for a, b in zip(voxel, offset, strict=True))
                    within = all(0 <= a < length for a, length in zip(place, labels.shape, strict=True))
                    if within and not seen[place] and labels[place] == label:
                        seen[place] = True
                        queue.append(place)
            components.setdefault(label, []).append(found)
        shares = self.contract["postprocessing"]["smallest_component"]
        for structure in self.contract["labels"]["labels"]:
            each = components.get(structure["id"], [])
            least = shares.get(structure["name"], 0) * max(map(len, each), default=0)
            for component in each:
                if len(component) < least:
                    result[tuple(np.array(component).T)] = 0
        return result


def speckled_scan(rows: int, columns: int, affine: NDArray[np.float64], slope: float) -> Volume:
    """A smooth scan with bright blobs of several sizes, some of which touch by a corner only."""
    rng = np.random.default_rng(3)
    array = rng.normal(-20, 30, (1, 30, rows, columns))
    for size in (12, 8, 5, 3, 3, 2):
        for _ in range(4):
            place = rng.integers(0, (30 - size, rows - size, columns - size))
            array[(0, *(slice(start, start + size) for start in place))] += 250
    array[0, :, :3] = -120
    stored = np.rint((array - 24) / slope).astype(np.int16)
    return Volume(stored, affine, slope, 24.0, source="speckles")


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((40, 56), (2.0, 0.8, 0.8)), ((61, 47), (1.5, 1.1, 0.7)), ((33, 33), (5.0, 3.0, 3.0))],
    ids=["wide", "two spacings", "coarse"],
)
@pytest.mark.parametrize("slope", [1.0, 0.5])
def test_the_page_reproduces_the_vectors(
    modality: Any, shape: tuple[int, int], spacing: tuple[float, float, float], slope: float, tmp_path: Path
) -> None:
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])[:, [2, 1, 0, 3]]
    volume = speckled_scan(*shape, affine, slope).reoriented("LAS")
    check_vectors(volume, Preprocessing.for_modality(modality, image_size=32), tmp_path)


@pytest.mark.parametrize("orientation", ["SLP", "PLI", "LPI"])
@pytest.mark.parametrize(
    ("modality", "settings"),
    [
        ("CT", {"field_of_view": "body", "window_hu": (-200, 300)}),
        ("MR", {"field_of_view": "nonzero", "deviations": 2.5}),
        ("MR", {"ranges": ((-200.0, 300.0),)}),
        ("CT", {"field_of_view": "body", "field_mm": 25.0}),
    ],
    ids=["body", "z-score", "ranges", "field"],
)
def test_the_page_reproduces_other_planes_ranges_and_fields_of_view(
    orientation: str, modality: Any, settings: dict[str, Any], tmp_path: Path
) -> None:
    affine = np.diag([-0.9, -0.8, 2.0, 1.0])[:, [2, 1, 0, 3]]
    outside = -1000 if modality == "CT" else 0
    body = speckled_scan(40, 36, affine, 0.5)
    array = np.full((1, 38, 58, 60), round((outside - 24) / 0.5) if modality == "CT" else 0, np.int16)
    array[:, 4:34, 12:52, 20:56] = body.array
    volume = Volume(array, affine, 0.5, 24.0, source="speckles").reoriented("LAS")
    preprocessing = Preprocessing.for_modality(modality, image_size=32, orientation=orientation, **settings)
    written = check_vectors(volume, preprocessing, tmp_path)
    whole = written.seen == [slice(0, length) for length in written.scan.shape[2:]]
    assert whole == (preprocessing.field_of_view == "slice")


def check_vectors(volume: Volume, preprocessing: Preprocessing, tmp_path: Path) -> Written:
    """Write test vectors with the package, and reach the same numbers as the page says."""
    manifest = {
        "preprocessing": preprocessing,
        "labels": LabelSet.from_names(["bright"]),
        "postprocessing": Postprocessing(smallest_component={"bright": 0.2}),
    }
    graph = threshold_graph().SerializeToString()
    model = tmp_path / "model.onnx"
    model.write_bytes(sealed(graph, threshold_manifest(graph, **manifest)))
    write_test_vectors(model, volume, tmp_path / "vectors")
    expected = {name: np.load(tmp_path / "vectors" / f"{name}.npy") for name in ("inputs", "logits", "labels")}
    written = Written(tmp_path / "vectors")
    assert len(written.scan[0]) == 24
    np.testing.assert_allclose(written.inputs(), expected["inputs"], atol=2e-6)
    np.testing.assert_array_equal(written.labels(expected["logits"]), expected["labels"])
    after = np.load(tmp_path / "vectors" / "postprocessed.npy")
    np.testing.assert_array_equal(written.postprocessed(expected["labels"]), after)
    assert 0 < np.count_nonzero(after) < np.count_nonzero(expected["labels"])  # something was removed, not all
    return written


@pytest.mark.parametrize(("context_mm", "spacing_known"), [(None, True), (3.0, True), (3.0, False)])
def test_context_is_as_the_page_says(context_mm: float | None, spacing_known: bool) -> None:
    """The same function of the page against slices whose pixels are their own number."""
    from embedded_vit.preprocessing import network_inputs

    affine = np.diag([-1.0, -1.0, 1.2, 1.0])[:, [2, 1, 0, 3]]
    array = np.arange(9, dtype=np.int16).reshape(1, 9, 1, 1).repeat(32, axis=2).repeat(32, axis=3) * 40 - 125
    volume = Volume(array, affine, spacing_known=spacing_known)
    preprocessing = Preprocessing.for_modality("CT", image_size=32, context_slices=3, context_mm=context_mm)
    page = Written.__new__(Written)
    page.facts = {"slope": 1.0, "intercept": 0.0, "spacing_mm": volume.spacing_mm if spacing_known else None}
    page.settings, page.scan = preprocessing.model_dump(mode="json"), array
    page.seen = [slice(0, 32), slice(0, 32)]
    page.spacing, page.padded, page.inside = (1.2, 1.0, 1.0), [32, 32], [slice(0, 32), slice(0, 32)]
    expected = np.stack(list(network_inputs(volume, preprocessing)))
    np.testing.assert_allclose(page.inputs(), expected, atol=2e-6)


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    graph = threshold_graph().SerializeToString()
    (tmp_path / "model.onnx").write_bytes(sealed(graph, threshold_manifest(graph)))
    with pytest.raises(OutputError, match="is not an empty folder"):
        write_test_vectors(tmp_path / "model.onnx", speckled_scan(20, 20, np.eye(4), 1.0), tmp_path)
