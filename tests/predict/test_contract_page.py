"""docs/contract.md, implemented from the page alone (`written_contract.py`), reproduces vectors and whole masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from artifact_fixtures import (
    DARK_AND_BRIGHT,
    dark_and_bright_graph,
    threshold_graph,
    threshold_manifest,
    write_artifact,
)
from numpy.typing import NDArray
from PIL import Image
from written_contract import Written, scan_axes, upright

import embedded_vit
from embedded_vit import postprocessing
from embedded_vit.artifact.manifest import sealed
from embedded_vit.contract import Contract
from embedded_vit.errors import OutputError
from embedded_vit.labels import LabelSet
from embedded_vit.postprocessing import Components, Postprocessing
from embedded_vit.predict.labelling import label_slice
from embedded_vit.predict.vectors import write_test_vectors
from embedded_vit.preprocessing import Grid, Preprocessing
from embedded_vit.volume import Volume

PARTS = ("preprocessing", "labels", "postprocessing")


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
        ("CT", {"field_of_view": "body", "interpolation": "cubic"}),
    ],
    ids=["body", "z-score", "ranges", "field", "cubic"],
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
        "labels": DARK_AND_BRIGHT,
        "postprocessing": Postprocessing(smallest_component={"bright": 0.2}),
    }
    model = write_artifact(tmp_path / "model.onnx", dark_and_bright_graph(), **manifest)
    write_test_vectors(model, volume, tmp_path / "vectors")
    expected = {name: np.load(tmp_path / "vectors" / f"{name}.npy") for name in ("inputs", "logits", "labels")}
    written = Written.of_folder(tmp_path / "vectors")
    assert len(written.scan[0]) == 24
    np.testing.assert_allclose(written.inputs(), expected["inputs"], atol=2e-6)
    np.testing.assert_array_equal(written.labels(expected["logits"]), expected["labels"])
    after = np.load(tmp_path / "vectors" / "postprocessed.npy")
    np.testing.assert_array_equal(written.postprocessed(expected["labels"]), after)
    assert 0 < np.count_nonzero(after) < np.count_nonzero(expected["labels"])  # something was removed, not all
    sizes = {key: written.facts[key] for key in ("unit", "sizes", "regions")}
    assert written.sizes(after) == sizes
    assert sizes["regions"]["both"] >= sizes["sizes"]["bright"] > 0
    return written


@pytest.mark.parametrize(
    ("modality", "pixel_mm", "unit"),
    [("picture", 0.0006, "mm2"), ("picture", None, "pixels"), ("CT", 0.8, "ml"), ("CT", None, "voxels")],
)
def test_the_page_reproduces_the_sizes_of_vectors(
    modality: Any, pixel_mm: float | None, unit: str, tmp_path: Path
) -> None:
    preprocessing = Preprocessing.for_modality(modality, image_size=32, channels=("grey",))
    model = write_artifact(
        tmp_path / "model.onnx", dark_and_bright_graph(), preprocessing=preprocessing, labels=DARK_AND_BRIGHT
    )
    array = np.random.default_rng(2).integers(0, 256, (1, 1, 40, 50)).astype(np.uint8)
    affine = np.diag([pixel_mm or 1.0] * 3 + [1.0])[:, [2, 1, 0, 3]]
    slope, intercept = (1 / 255, 0.0) if modality == "picture" else (3.0, -300.0)
    stored = Volume(array, affine, slope, intercept, spacing_known=pixel_mm is not None)
    write_test_vectors(model, stored.reoriented("SLP"), tmp_path / "vectors")
    written = Written.of_folder(tmp_path / "vectors")
    found = written.sizes(np.load(tmp_path / "vectors" / "postprocessed.npy"))
    assert found == {key: written.facts[key] for key in ("unit", "sizes", "regions")}
    assert found["unit"] == unit
    assert 0 < found["regions"]["the dark"] < found["regions"]["both"]


@pytest.mark.parametrize(("context_mm", "spacing_known"), [(None, True), (3.0, True), (3.0, False)])
def test_context_is_as_the_page_says(context_mm: float | None, spacing_known: bool) -> None:
    """The same function of the page against slices whose pixels are their own number."""
    from embedded_vit.preprocessing import network_inputs

    affine = np.diag([-1.0, -1.0, 1.2, 1.0])[:, [2, 1, 0, 3]]
    array = np.arange(9, dtype=np.int16).reshape(1, 9, 1, 1).repeat(32, axis=2).repeat(32, axis=3) * 40 - 125
    volume = Volume(array, affine, spacing_known=spacing_known)
    preprocessing = Preprocessing.for_modality("CT", image_size=32, context_slices=3, context_mm=context_mm)
    facts = {"slope": 1.0, "intercept": 0.0, "spacing_mm": volume.spacing_mm if spacing_known else None}
    page = Written(facts | {"contract": {"preprocessing": preprocessing.model_dump(mode="json")}}, array)
    expected = np.stack(list(network_inputs(volume, preprocessing)))
    np.testing.assert_allclose(page.inputs(), expected, atol=2e-6)


def test_ties_go_to_the_lowest_number() -> None:
    """Whole logits on the slice's own pixels: most of them tie, and nothing is rounded."""
    preprocessing = Preprocessing.for_modality("CT", image_size=32)
    logits = np.random.default_rng(4).integers(0, 3, (1, 5, 32, 32)).astype(np.float32)
    facts = {"contract": {"preprocessing": preprocessing.model_dump(mode="json")}, "spacing_mm": None}
    page = Written(facts | {"slope": 1.0, "intercept": 0.0}, np.zeros((1, 1, 32, 32), np.int16))
    expected = label_slice(logits[0], Grid.between((32, 32), 32))
    np.testing.assert_array_equal(page.labels(logits)[0], expected)
    second, first = np.sort(logits[0], axis=0)[-2:]
    assert np.mean(first == second) > 0.4


@pytest.mark.parametrize(("runs", "removed"), [(100, True), (101, False)])
def test_too_many_runs_leave_the_mask_as_it_is(runs: int, removed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run goes along columns: a column of ten voxels has ten, a row of ten has one."""
    assert postprocessing.MAXIMUM_RUNS == 500_000
    monkeypatch.setattr(postprocessing, "MAXIMUM_RUNS", 100)
    labels = np.zeros((2, 45, 45), np.uint8)
    labels[0, :11, :18:2] = 1  # 9 components of 11 runs
    labels[0, 20, 20] = 1  # run 100, the smallest component
    labels[1, 30, :10] = 1  # run 101
    components = Components()
    for plane in labels[: runs - 99]:
        components.add(plane)
    assert any(len(found) for found in components.small_components([1.0])) == removed


def page_mask(image: NDArray[Any], affine: NDArray[np.float64], slope: float, facts: dict[str, Any]) -> NDArray[Any]:
    """The mask of a file's voxels (x, y, z), all by the page; the threshold graph's logits are -image and image."""
    axes, wanted = scan_axes(affine), facts["contract"]["preprocessing"]["orientation"]
    order = [np.argmax([letter in pair for letter in axes]) for pair in (("S", "I"), ("L", "R"), ("P", "A"))]
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))[order]
    page = Written(
        facts | {"slope": slope, "intercept": 0.0, "spacing_mm": tuple(spacing)}, upright(image, axes, wanted)[None]
    )
    first = page.inputs()[:, :1]
    return upright(page.postprocessed(page.labels(np.concatenate([-first, first], axis=1))), wanted, axes)


@pytest.mark.parametrize("degrees", [0, 25, 50])
@pytest.mark.parametrize("axes", ["RAS", "IPL", "ASR"])
def test_the_mask_of_a_file_is_the_pages_to_the_voxel(axes: str, degrees: float, tmp_path: Path) -> None:
    """From the voxels of an oblique file to those of its mask, with the context, the spacing and small components."""
    turned = nibabel.orientations.inv_ornt_aff(nibabel.orientations.axcodes2ornt(axes), (30, 34, 26))
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    tilt = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ np.diag([0.9, 1.1, 1.7, 1])
    affine = tilt @ np.linalg.inv(turned)
    scan = speckled_scan(34, 26, np.eye(4), 0.5).array[0].astype(np.int16)
    nibabel.Nifti1Image(scan, affine).to_filename(tmp_path / "scan.nii.gz")
    stored = nibabel.load(tmp_path / "scan.nii.gz")
    contract = Contract(
        preprocessing=Preprocessing.for_modality("MR", image_size=32, context_slices=3, context_mm=3.0),
        labels=LabelSet.from_names(["bright"]),
        postprocessing=Postprocessing(smallest_component={"bright": 0.2}),
    )
    graph = threshold_graph(channels=3).SerializeToString()
    (tmp_path / "model.onnx").write_bytes(
        sealed(graph, threshold_manifest(graph, **{name: getattr(contract, name) for name in PARTS}))
    )
    found = embedded_vit.load(tmp_path / "model.onnx", threads=1).predict(tmp_path / "scan.nii.gz").mask.array
    expected = page_mask(np.asarray(stored.dataobj), stored.affine, 1.0, {"contract": contract.model_dump(mode="json")})
    assert 0 < np.count_nonzero(expected) < expected.size
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("white", "dtype"), [(255, np.uint8), (65535, np.uint16)])
def test_the_mask_of_a_picture_is_the_pages_to_the_pixel(white: int, dtype: Any, tmp_path: Path) -> None:
    picture = np.random.default_rng(8).integers(0, white + 1, (37, 53)).astype(dtype)
    picture[5:20, 10:40] //= 4
    Image.fromarray(picture).save(tmp_path / "picture.png")
    preprocessing = Preprocessing.for_modality("picture", channels=("grey",), image_size=32)
    graph = threshold_graph().SerializeToString()
    (tmp_path / "model.onnx").write_bytes(sealed(graph, threshold_manifest(graph, preprocessing=preprocessing)))
    embedded_vit.load(tmp_path / "model.onnx").predict(tmp_path / "picture.png").save(tmp_path / "mask.png")
    facts = {"contract": {"preprocessing": preprocessing.model_dump(mode="json")}, "spacing_mm": None}
    page = Written(facts | {"slope": 1 / white, "intercept": 0.0}, picture.T[None, None])
    image = page.inputs()
    expected = page.labels(np.concatenate([-image, image], axis=1))[0].T
    assert 0 < np.count_nonzero(expected) < expected.size
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "mask.png")), expected)


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    graph = threshold_graph().SerializeToString()
    (tmp_path / "model.onnx").write_bytes(sealed(graph, threshold_manifest(graph)))
    with pytest.raises(OutputError, match="is not an empty folder"):
        write_test_vectors(tmp_path / "model.onnx", speckled_scan(20, 20, np.eye(4), 1.0), tmp_path)
