"""The page's own implementation of docs/contract.md, under Node, against the Python program."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from artifact_fixtures import DARK_AND_BRIGHT, dark_and_bright_graph, threshold_graph, write_artifact
from nibabel.orientations import axcodes2ornt, inv_ornt_aff
from numpy.typing import NDArray

import embedded_vit
from embedded_vit.builtin.index import artifact_path, builtin_names
from embedded_vit.contract import Contract, SpacingRange
from embedded_vit.datasets.phantom import PhantomSettings
from embedded_vit.datasets.phantom_writer import write_phantoms
from embedded_vit.errors import EmbeddedVitError
from embedded_vit.labels import LabelSet
from embedded_vit.postprocessing import Postprocessing
from embedded_vit.predict.labelling import label_slice
from embedded_vit.predict.vectors import write_test_vectors
from embedded_vit.preprocessing import Grid, Preprocessing
from embedded_vit.volume import UPRIGHT_AFFINE, Volume

MOST_DIFFERENT = 1e-5  # of the voxels
MOST_DIFFERENT_INT8 = 2e-3  # another processor rounds an int8 graph otherwise
ORIENTATIONS = [
    "".join(codes) for axes in itertools.permutations(("RL", "AP", "SI")) for codes in itertools.product(*axes)
]

# modality, settings, slope of the scan
CONTRACTS: dict[str, tuple[Any, dict[str, Any], float]] = {
    "context": ("CT", {"context_slices": 3, "context_mm": 3.0}, 1.0),
    "cubic": ("CT", {"field_of_view": "body", "interpolation": "cubic"}, 0.5),
    "field": ("CT", {"field_of_view": "body", "field_mm": 25.0}, -0.25),
    "channels": ("MR", {"channels": ("t1", "t2")}, -0.25),
    "z-score": ("MR", {"field_of_view": "nonzero", "deviations": 2.5}, 0.5),
    "ranges": ("MR", {"ranges": ((-200.0, 300.0),)}, 1.0),
}


def ball_scan(slope: float, channels: int = 1) -> Volume:
    """Noise with bright boxes of several sizes, of which small ones go; zeros around it."""
    rng = np.random.default_rng(5)
    array = np.full((channels, 26, 44, 52), -1000.0)
    array[:, 3:, 4:40, 9:50] = rng.normal(-20, 30, (channels, 23, 36, 41))
    for size in (11, 7, 4, 3, 2, 2):
        place = rng.integers(4, (26 - size, 40 - size, 50 - size))
        array[(slice(None), *(slice(start, start + size) for start in place))] += 260
    affine = np.diag([-0.7, -0.9, 2.0, 1.0])[:, [2, 1, 0, 3]]
    return Volume(np.rint((array - 24) / slope).astype(np.int16), affine, slope, 24.0, source="boxes")


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_stage_is_that_of_the_test_vectors(core: Callable[..., Any], name: str, tmp_path: Path) -> None:
    modality, settings, slope = CONTRACTS[name]
    preprocessing = Preprocessing.for_modality(modality, image_size=32, **settings)
    fields = {
        "preprocessing": preprocessing,
        "labels": DARK_AND_BRIGHT,
        "postprocessing": Postprocessing(smallest_component={"bright": 0.2}),
    }
    graph = dark_and_bright_graph(channels=preprocessing.input_channels)
    model = write_artifact(tmp_path / "model.onnx", graph, **fields)
    write_test_vectors(model, ball_scan(slope, len(preprocessing.channels)), tmp_path / "v")
    expected = {name: np.load(tmp_path / "v" / f"{name}.npy") for name in ("scan", "inputs", "logits", "labels")}
    facts = json.loads((tmp_path / "v" / "contract.json").read_text())
    job = {name: str(tmp_path / f"{name}.raw") for name in ("scan", "inputs", "logits", "labels", "postprocessed")}
    expected["scan"].astype("<f8").tofile(job["scan"])
    expected["logits"].astype("<f4").tofile(job["logits"])
    answer = core("vectors", facts | job | {"shape": expected["scan"].shape}, tmp_path)
    inputs = np.fromfile(job["inputs"], "<f4").reshape(expected["inputs"].shape)
    np.testing.assert_allclose(inputs, expected["inputs"], atol=4e-6)
    labels = np.fromfile(job["labels"], np.uint8).reshape(expected["labels"].shape)
    np.testing.assert_array_equal(labels, expected["labels"])
    after = np.load(tmp_path / "v" / "postprocessed.npy")
    np.testing.assert_array_equal(np.fromfile(job["postprocessed"], np.uint8).reshape(after.shape), after)
    assert np.count_nonzero(after)
    assert np.count_nonzero(after) < np.count_nonzero(labels) or name != "context"
    assert {key: answer[key] for key in ("unit", "sizes", "regions")} == {
        key: facts[key] for key in ("unit", "sizes", "regions")
    }
    assert facts["regions"]["both"] >= facts["sizes"]["bright"] > 0


@pytest.mark.parametrize(
    ("modality", "spacing", "unit"),
    [("picture", 0.0006, "mm2"), ("picture", None, "pixels"), ("CT", 0.8, "ml"), ("CT", None, "voxels")],
)
def test_sizes_of_structures_and_regions_are_those_of_the_test_vectors(
    core: Callable[..., Any], modality: Any, spacing: float | None, unit: str, tmp_path: Path
) -> None:
    preprocessing = Preprocessing.for_modality(modality, image_size=32, channels=("grey",))
    fields = {"preprocessing": preprocessing, "labels": DARK_AND_BRIGHT}
    affine = np.diag([-(spacing or 1.0)] * 2 + [spacing or 1.0, 1.0])[:, [2, 1, 0, 3]]
    array = np.random.default_rng(2).integers(0, 256, (1, 1, 40, 50)).astype(np.uint8)
    slope, intercept = (1 / 255, 0.0) if modality == "picture" else (3.0, -300.0)
    volume = Volume(array, affine, slope, intercept, spacing_known=spacing is not None)
    write_test_vectors(write_artifact(tmp_path / "m.onnx", dark_and_bright_graph(), **fields), volume, tmp_path / "v")
    facts = json.loads((tmp_path / "v" / "contract.json").read_text())
    job = {name: str(tmp_path / f"{name}.raw") for name in ("scan", "inputs", "logits", "labels", "postprocessed")}
    scan = np.load(tmp_path / "v" / "scan.npy")
    scan.astype("<f8").tofile(job["scan"])
    np.load(tmp_path / "v" / "logits.npy").astype("<f4").tofile(job["logits"])
    answer = core("vectors", facts | job | {"shape": scan.shape}, tmp_path)
    assert answer["unit"] == facts["unit"] == unit
    assert answer["sizes"] == facts["sizes"]
    assert answer["regions"] == facts["regions"]
    assert 0 < facts["regions"]["the dark"] < facts["regions"]["both"]


@pytest.mark.parametrize("decimals", [0, 3, 6])
def test_numbers_are_rounded_as_python_does(core: Callable[..., Any], decimals: int, tmp_path: Path) -> None:
    """Ties, and what is a tie in decimal digits but lies beside it as a float64, such as 4619 x 0.0045."""
    numbers = [count / 16 for count in range(-200, 200)] + [count * 0.0045 for count in range(4000, 6000)]
    numbers += [count * 2.5e-7 for count in range(300)] + [count / 128 for count in range(300)] + [4619 * 0.0045]
    expected = [round(number, decimals) for number in numbers]
    assert core("rounded", {"numbers": numbers, "decimals": decimals}, tmp_path) == expected


@pytest.mark.parametrize(("stride", "shape"), [(1, (40, 40)), (2, (45, 61)), (4, (20, 64))])
def test_labels_are_those_of_the_largest_logit_at_every_stride(
    core: Callable[..., Any], stride: int, shape: tuple[int, int], tmp_path: Path
) -> None:
    """Noise has ties nowhere and every class in most cells."""
    preprocessing = Preprocessing.for_modality("CT", image_size=32, output_stride=stride)
    contract = Contract(preprocessing=preprocessing, labels=LabelSet.from_names(["a", "b", "c", "d"]))
    size = preprocessing.output_size
    logits = np.random.default_rng(stride).normal(size=(2, 5, size, size)).astype(np.float32)
    volume = Volume(np.zeros((1, 2, *shape), np.int16), UPRIGHT_AFFINE)
    job = {name: str(tmp_path / f"{name}.raw") for name in ("scan", "inputs", "logits", "labels", "postprocessed")}
    volume.array.astype("<f8").tofile(job["scan"])
    logits.tofile(job["logits"])
    facts = {"contract": contract.model_dump(mode="json"), "slope": 1.0, "intercept": 0.0, "spacing_mm": [1.0] * 3}
    core("vectors", facts | job | {"shape": volume.array.shape}, tmp_path)
    grid = Grid.of(volume, preprocessing)
    labels = np.fromfile(job["labels"], np.uint8).reshape(volume.shape)
    np.testing.assert_array_equal(labels, np.stack([label_slice(each, grid) for each in logits]))


def turned(array: NDArray[Any], affine: NDArray[np.float64], codes: str) -> nibabel.Nifti1Image:
    """Return an image of RAS voxels with its axes in another order and direction, at the same place."""
    ornt = axcodes2ornt(tuple(codes))
    transform = nibabel.orientations.ornt_transform(axcodes2ornt(tuple("RAS")), ornt)
    moved = nibabel.orientations.apply_orientation(array, transform)
    return nibabel.Nifti1Image(np.ascontiguousarray(moved), affine @ inv_ornt_aff(transform, array.shape))


def test_all_48_orientations_give_the_masks_of_predict(
    segment_in_node: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    preprocessing = Preprocessing.for_modality("CT", image_size=32, context_slices=3)
    postprocessing = Postprocessing(smallest_component={"bright": 0.2})
    given = {"preprocessing": preprocessing, "postprocessing": postprocessing, "labels": DARK_AND_BRIGHT}
    model = write_artifact(tmp_path / "model.onnx", dark_and_bright_graph(channels=3), **given)
    upright = ball_scan(1.0).reoriented("RAS")
    array = (upright.array[0, :, :, 6:16] + np.int16(24)).astype(np.int16)
    oblique = upright.affine.copy()
    oblique[:3, :3] = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]]) @ oblique[:3, :3]
    scans = []
    for number, codes in enumerate(ORIENTATIONS):
        scans.append(tmp_path / f"{codes}.nii{'.gz' if number % 2 else ''}")
        nibabel.save(turned(array, oblique if number % 3 == 0 else upright.affine, codes), scans[-1])
    assert len(scans) == 48
    answers = segment_in_node(model, scans, tmp_path)
    predictor = embedded_vit.load(model)
    for number, (scan, answer) in enumerate(zip(scans, answers, strict=True)):
        expected = predictor.predict(scan)
        mask = nibabel.load(tmp_path / f"{number}.nii")
        np.testing.assert_array_equal(np.asanyarray(mask.dataobj), expected.mask.array, err_msg=scan.name)
        np.testing.assert_array_equal(mask.affine, nibabel.load(scan).affine)
        assert answer["sizes"] == expected.volumes
        assert answer["regions"] == expected.regions
        assert answer["warnings"] == list(expected.warnings)
    assert np.count_nonzero(expected.mask.array)
    assert expected.regions["both"] > max(expected.volumes.values()) > 0


@pytest.fixture(scope="module")
def phantom_scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A CT of a generated abdomen, and an MR."""
    folder = tmp_path_factory.mktemp("scans")
    write_phantoms(folder / "ct", 2, layout="nnunet", settings=PhantomSettings(size=96, slices=16), seed=3)
    whole = nibabel.load(min(folder.glob("ct/imagesTr/*.nii.gz")))
    nibabel.save(whole.slicer[:, :, 6:10], folder / "ct.nii.gz")
    rng = np.random.default_rng(1)
    smooth = np.kron(rng.uniform(0, 900, (5, 2, 5)), np.ones((7, 7, 7)))[:34, :8, :33] + rng.normal(0, 20, (34, 8, 33))
    nibabel.save(
        nibabel.Nifti1Image(smooth.clip(0).astype(np.float32), np.diag([1.0, 1.0, 1.0, 1.0])), folder / "mr.nii.gz"
    )
    return {"CT": folder / "ct.nii.gz", "MR": folder / "mr.nii.gz"}


@pytest.mark.slow
@pytest.mark.parametrize("name", builtin_names())
def test_every_shipped_model_labels_as_predict_does(
    name: str, segment_in_node: Callable[..., list[dict[str, Any]]], phantom_scans: dict[str, Path], tmp_path: Path
) -> None:
    model = artifact_path(name)
    predictor = embedded_vit.load(name)
    scan = phantom_scans[predictor.manifest.preprocessing.modality]
    (answer,) = segment_in_node(model, [scan], tmp_path, force=True)
    expected = predictor.predict(scan, force=True)
    mask = np.asanyarray(nibabel.load(tmp_path / "0.nii").dataobj)
    allowed = MOST_DIFFERENT_INT8 if predictor.manifest.is_int8 else MOST_DIFFERENT
    assert np.count_nonzero(mask != expected.mask.array) <= allowed * mask.size
    assert np.count_nonzero(mask) or name == "hippocampus-mr"  # which finds nothing in a generated scan
    if predictor.manifest.is_int8:
        return
    assert answer["warnings"] == list(expected.warnings)
    assert answer["forced"] == expected.forced
    judgement = answer["judgement"]
    assert judgement == (None if expected.judgement is None else expected.judgement.plain())


@pytest.mark.slow
def test_a_real_mr_is_labelled_as_predict_does(
    segment_in_node: Callable[..., list[dict[str, Any]]], shared_folder: Path, tmp_path: Path
) -> None:
    scan = min((shared_folder / "data" / "decathlon" / "Task04_Hippocampus" / "imagesTr").glob("hippo*.nii.gz"))
    (answer,) = segment_in_node(artifact_path("hippocampus-mr"), [scan], tmp_path)
    expected = embedded_vit.load("hippocampus-mr").predict(scan)
    mask = np.asanyarray(nibabel.load(tmp_path / "0.nii").dataobj)
    assert np.count_nonzero(mask != expected.mask.array) <= MOST_DIFFERENT * mask.size
    assert np.count_nonzero(mask)
    assert answer["warnings"] == list(expected.warnings)


def image(array: NDArray[Any], spacing: float = 1.0) -> bytes:
    return nibabel.Nifti1Image(array, np.diag([spacing, spacing, spacing, 1.0])).to_bytes()


def header_with(content: bytes, field: str, value: Any) -> bytes:
    made = bytearray(content)
    dtype = nibabel.Nifti1Header().structarr.dtype
    kind, offset = dtype.fields[field][:2]
    made[offset : offset + kind.itemsize] = np.array(value, kind.base).tobytes()
    return bytes(made)


def refused_files() -> dict[str, bytes]:
    """Files that are refused, each in a way of its own, by name."""
    rng = np.random.default_rng(0)
    hounsfield = rng.normal(0, 100, (20, 20, 8)).astype(np.int16)
    hounsfield[:6] = -1000
    good = image(hounsfield)
    not_finite = hounsfield.astype(np.float32)
    not_finite[0, 0, 0] = np.nan
    packed = gzip.compress(good, mtime=0)
    return {
        "short.nii": good[:300],
        "cut.nii": good[:-100],
        "cut.nii.gz": packed[: len(packed) // 2],
        "checksum.nii.gz": packed[:-8] + bytes(8),
        "plain.nii.gz": good,
        "text.nii": b"no header" * 60,
        "magic.nii": header_with(good, "magic", b"x+1"),
        "axes.nii": header_with(good, "dim", [9, 20, 20, 8, 1, 1, 1, 1]),
        "empty.nii": header_with(good, "dim", [3, 0, 20, 8, 1, 1, 1, 1]),
        "huge.nii": header_with(good, "dim", [3, 30000, 30000, 30000, 1, 1, 1, 1]),
        "four.nii": header_with(good, "dim", [4, 20, 20, 4, 2, 1, 1, 1]),
        "colours.nii": header_with(good, "datatype", 128),
        "complex.nii": header_with(good, "datatype", 32),
        "unknown.nii": header_with(good, "datatype", 77),
        "spacing.nii": header_with(good, "pixdim", [1, 0, 1, 1, 1, 1, 1, 1]),
        "offset.nii": header_with(good, "vox_offset", 10.0),
        "affine.nii": header_with(good, "srow_x", [np.nan, 0, 0, 0]),
        "singular.nii": header_with(good, "srow_x", [0, 1, 0, 0]),
        "far.nii": header_with(good, "srow_x", [1, 0, 0, 3e6]),
        "not-finite.nii": image(not_finite),
        "thick.nii": image(hounsfield, 9.0),
        "picture.nii": image(np.minimum(rng.integers(0, 320, (20, 20, 8)), 255).astype(np.uint8)),
        "constant.nii": image(np.full((20, 20, 8), -1000, np.int16)),
        "raw.nii": image((hounsfield + 1024).astype(np.int16)),
        "dark.nii": image((hounsfield * 5 - 3000).astype(np.int16)),
    }


def test_what_predict_refuses_is_refused_in_the_same_words(
    segment_in_node: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    allowed = SpacingRange(slices_mm=(0.5, 5.0), in_plane_mm=(0.5, 2.0))
    preprocessing = Preprocessing.for_modality("CT", image_size=32)
    model = write_artifact(tmp_path / "model.onnx", preprocessing=preprocessing, spacing_range=allowed)
    paths = [tmp_path / name for name in refused_files()]
    for path, content in zip(paths, refused_files().values(), strict=True):
        path.write_bytes(content)
    answers = segment_in_node(model, paths, tmp_path)
    predictor = embedded_vit.load(model)
    same = 0
    for path, answer in zip(paths, answers, strict=True):
        with pytest.raises(EmbeddedVitError) as refused:
            predictor.predict(path)
        expected = str(refused.value).removesuffix(" (--force segments it nevertheless)")
        assert "refused" in answer, path.name
        if "truncated or damaged" in expected:  # and then what the library says
            assert answer["refused"].startswith(f"{path}: truncated or damaged")
            continue
        assert answer["refused"] == expected
        same += 1
    assert same >= len(paths) - 3


def test_a_network_that_answers_nan_is_refused(
    segment_in_node: Callable[..., list[dict[str, Any]]], make_artifact: Callable[..., Path], tmp_path: Path
) -> None:
    graph = threshold_graph()
    graph.graph.initializer[0].float_data[0] = float("nan")
    model = make_artifact(graph)
    scan = tmp_path / "scan.nii"
    array = np.random.default_rng(0).normal(0, 100, (20, 20, 8)).astype(np.int16)
    array[:6] = -1000
    scan.write_bytes(image(array))
    (answer,) = segment_in_node(model, [scan], tmp_path)
    assert "the network answers NaN or infinity" in answer["refused"]


def channel_scan(path: Path, codes: str, *, slope: float = 1.0, shift_mm: float = 0.0, seed: int = 0) -> Path:
    """Write one channel of an MR: a bright block, its axes in the order of `codes`."""
    array = np.random.default_rng(seed).normal(100, 5, (22, 20, 6))
    array[6:12, 5 + seed : 12, 2:5] = 400
    affine = np.diag([1.5, 1.0, 2.0, 1.0])
    affine[0, 3] = shift_mm
    made = turned(array / slope, affine, codes)
    header = nibabel.Nifti1Image(np.rint(np.asanyarray(made.dataobj)).astype(np.int16), made.affine)
    header.header.set_slope_inter(slope, 0)
    nibabel.save(header, path)
    return path


def test_channels_in_several_files_are_matched_as_predict_does(
    segment_in_node: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    preprocessing = Preprocessing.for_modality("MR", image_size=32, channels=("t1", "t2"))
    model = write_artifact(tmp_path / "model.onnx", preprocessing=preprocessing)
    first, second = (channel_scan(tmp_path / f"a_000{n}.nii", ("RAS", "LPS")[n], seed=n) for n in (0, 1))
    scans = [
        [second, first],
        [channel_scan(tmp_path / "b_T2.nii.gz", "SRA", slope=0.5, seed=1), channel_scan(tmp_path / "b_t1.nii", "RAS")],
        [channel_scan(tmp_path / "x.nii", "LAS"), channel_scan(tmp_path / "y.nii", "LAS", seed=1)],
        [first, second, tmp_path / "x.nii"],
        [second, channel_scan(tmp_path / "a_0002.nii", "RAS")],
        [tmp_path / "b_t1.nii", tmp_path / "x.nii"],
        [channel_scan(tmp_path / "c_0000.nii", "RAS"), channel_scan(tmp_path / "c_0001.nii", "RAS", shift_mm=2.0)],
    ]
    answers = segment_in_node(model, scans, tmp_path)
    predictor = embedded_vit.load(model)
    for number, scan in enumerate(scans[:3]):
        expected = predictor.predict(scan)
        mask = nibabel.load(tmp_path / f"{number}.nii")
        np.testing.assert_array_equal(np.asanyarray(mask.dataobj), expected.mask.array)
        np.testing.assert_allclose(mask.affine, expected.mask.affine, atol=1e-6)
        assert np.count_nonzero(expected.mask.array)
    for scan, answer in zip(scans[3:], answers[3:], strict=True):
        with pytest.raises(EmbeddedVitError) as refused:
            predictor.predict(scan)
        assert answer["refused"] == str(refused.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(("name", "program"), [("a.nrrd", "3D Slicer"), ("a.tif", "ImageJ"), ("a.hdr", "ITK-SNAP")])
def test_a_format_that_the_page_does_not_read_is_refused_with_the_program_that_converts_it(
    name: str, program: str, segment_in_node: Callable[..., list[dict[str, Any]]], tmp_path: Path,
) -> None:  # fmt: skip
    model = write_artifact(tmp_path / "model.onnx")
    (tmp_path / name).write_bytes(b"content")
    (answer,) = segment_in_node(model, [[tmp_path / name]], tmp_path)
    assert answer["refused"].startswith(f"{name}: ")
    assert program in answer["refused"]
    assert "\n" not in answer["refused"]
