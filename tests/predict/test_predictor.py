"""A scan's file becomes a mask's file of the same geometry, or one clear line and nothing on the disk."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from artifact_fixtures import RunVerb, threshold_graph

import embedded_vit
from embedded_vit.contract import SpacingRange
from embedded_vit.engines import FastestEngine
from embedded_vit.errors import ContractError, FileFormatError, OutputError
from embedded_vit.labels import LabelSet
from embedded_vit.predict.predictor import Predictor, structure_volumes
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.volume import LabelMap, Volume

MakeArtifact = Callable[..., Path]


def box_in_hounsfield() -> np.ndarray:
    """(48, 40, 12) int16 as NIfTI stores it (x, y, z): air, and a box of 400 HU."""
    hounsfield = np.full((48, 40, 12), -1000, np.int16)
    hounsfield[12:20, 8:30, 2:7] = 400
    return hounsfield


def write_ct(path: Path, hounsfield: np.ndarray | None = None, spacing_mm: tuple[float, ...] = (1.25, 1.5, 4)) -> Path:
    """A CT file whose x axis runs to the left and y to the back, as DICOM converters write it."""
    array = box_in_hounsfield() if hounsfield is None else hounsfield
    affine = np.diag([-spacing_mm[0], -spacing_mm[1], spacing_mm[2], 1.0])
    affine[:3, 3] = [30.5, 20.25, -80]
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, code=2)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    return path


def test_three_lines_give_a_mask_of_the_same_geometry(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    scan = write_ct(tmp_path / "scan.nii.gz")
    predictor = embedded_vit.load(make_artifact(), threads=1)
    prediction = predictor.predict(scan)
    prediction.save(tmp_path / "mask.nii.gz")

    before, after = nibabel.load(scan), nibabel.load(tmp_path / "mask.nii.gz")
    assert after.shape == before.shape
    assert after.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(after.affine, before.affine)
    for field in ("sform_code", "qform_code", "xyzt_units", "pixdim", "srow_x", "quatern_b"):
        np.testing.assert_array_equal(after.header[field], before.header[field])
    mask, box = np.asarray(after.dataobj) > 0, box_in_hounsfield() > 0
    assert 2 * (mask & box).sum() / (mask.sum() + box.sum()) > 0.85
    assert mask.any(axis=(0, 1)).tolist() == box.any(axis=(0, 1)).tolist()


def test_the_summary_says_volumes_digests_and_use(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    scan, model = write_ct(tmp_path / "scan.nii.gz"), make_artifact()
    embedded_vit.load(model, threads=1).predict(scan).save(tmp_path / "mask.nii.gz")
    summary = json.loads((tmp_path / "mask.json").read_text())
    voxels = int((np.asarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj) == 1).sum())
    assert summary["unit"] == "ml"
    assert summary["volumes"]["bright"] == pytest.approx(voxels * 1.25 * 1.5 * 4 / 1000, abs=1e-3)
    assert summary["input_sha256"] == hashlib.sha256(scan.read_bytes()).hexdigest()
    assert summary["model_sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert "esearch use only" in summary["use"]
    assert summary["forced"] is False
    assert summary["warnings"] == []
    assert summary["seconds"]["segmenting"] > 0


@pytest.mark.filterwarnings("ignore:Cyclopts application invoked:UserWarning")
def test_the_fastest_engine_is_told_and_recorded(
    make_artifact: MakeArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predict: RunVerb
) -> None:
    pytest.importorskip("openvino")
    measured = FastestEngine("openvino", {"onnxruntime": 2.0, "openvino": 1.0})
    monkeypatch.setattr("embedded_vit.engines.fastest_engine", lambda model, threads: measured)
    model, scan, mask = make_artifact(), write_ct(tmp_path / "scan.nii.gz"), tmp_path / "mask.nii.gz"
    status, _, told = predict(model, scan, "--engine", "auto", "--threads", 1, "--output", mask)
    assert status == 0
    assert "engine: openvino (onnxruntime 2.0 ms, openvino 1.0 ms)" in told
    assert json.loads((tmp_path / "mask.json").read_text())["engine"].startswith("openvino 20")


def test_the_mask_does_not_depend_on_how_the_file_is_oriented(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    predictor = Predictor.load(make_artifact(), threads=1)
    original = nibabel.load(write_ct(tmp_path / "scan.nii"))
    masks = []
    for axes in permutations(("LR", "PA", "IS")):
        for codes in list(product(*axes))[::3]:
            wanted = nibabel.orientations.axcodes2ornt(codes)
            transform = nibabel.orientations.ornt_transform(nibabel.io_orientation(original.affine), wanted)
            nibabel.save(original.as_reoriented(transform), tmp_path / "turned.nii.gz")
            predictor.predict(tmp_path / "turned.nii.gz").save(tmp_path / "mask.nii.gz", overwrite=True)
            mask = nibabel.load(tmp_path / "mask.nii.gz")
            assert nibabel.aff2axcodes(mask.affine) == codes
            masks.append(np.asarray(nibabel.as_closest_canonical(mask).dataobj))
    assert len(masks) == 18
    for mask in masks:
        np.testing.assert_array_equal(mask, masks[0])


def test_a_transunet_volume_is_measured_in_voxels(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    image = np.zeros((5, 32, 32), np.float32)
    image[1:4, 8:16, 8:16] = 1
    with h5py.File(tmp_path / "case0001.npy.h5", "w") as file:
        file["image"] = image
        file["label"] = (image > 0).astype(np.float32)
    prediction = Predictor.load(make_artifact(), threads=1).predict(tmp_path / "case0001.npy.h5")
    np.testing.assert_array_equal(prediction.mask.array, (image > 0).astype(np.uint8))
    assert prediction.summary()["unit"] == "voxels"
    assert prediction.summary()["volumes"] == {"bright": 3 * 8 * 8}
    prediction.save(tmp_path / "mask.nii.gz")
    assert nibabel.load(tmp_path / "mask.nii.gz").shape == image.shape


def test_a_volume_in_memory_is_taken(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    volume = Volume(box_in_hounsfield()[None], np.diag([1.0, 1, 1, 1]), source="memory")
    progress: list[tuple[int, int]] = []
    prediction = Predictor.load(make_artifact(), threads=1).predict(
        volume, on_progress=lambda done, total: progress.append((done, total))
    )
    assert progress == [(done, 12) for done in range(1, 13)]
    assert prediction.input_sha256 is None
    prediction.save(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(nibabel.load(tmp_path / "mask.nii.gz").affine, volume.affine)


def test_several_channels_give_a_mask_without_them(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    preprocessing = Preprocessing.for_modality("MR", image_size=32, channels=("T1",))
    scan = write_ct(tmp_path / "scan.nii.gz", box_in_hounsfield()[..., None])  # a trailing axis of length one
    Predictor.load(make_artifact(preprocessing=preprocessing), threads=1).predict(scan).save(tmp_path / "mask.nii")
    assert nibabel.load(tmp_path / "mask.nii").shape == (48, 40, 12, 1)
    two_channels = Volume(np.zeros((2, 4, 32, 32), np.int16), np.eye(4))
    with pytest.raises(ContractError, match="2 channels, this artifact takes 1: CT"):
        Predictor.load(make_artifact(), threads=1).predict(two_channels, force=True)


@pytest.mark.parametrize(
    ("change", "spacing_mm", "message"),
    [
        (lambda hounsfield: np.uint8(np.clip((hounsfield + 125) / 400, 0, 1) * 255), (1, 1, 4), "HU is expected"),
        (lambda hounsfield: np.float32(np.clip((hounsfield + 125) / 400, 0, 1)), (1, 1, 4), "HU is expected"),
        (lambda hounsfield: np.uint16(hounsfield + 1024), (1, 1, 4), "HU is expected"),
        (lambda hounsfield: hounsfield / 500.0, (1, 1, 4), "HU is expected"),
        (lambda hounsfield: hounsfield, (1, 1, 12), "slices lie 12 mm apart.*made for 2 to 6 mm"),
        (lambda hounsfield: hounsfield, (3, 1, 4), "pixels lie 1 and 3 mm apart.*made for 0.5 to 2 mm"),
    ],
)
def test_a_scan_outside_the_contract_is_refused_unless_forced(
    make_artifact: MakeArtifact, tmp_path: Path, change: Callable, spacing_mm: tuple, message: str
) -> None:
    artifact = make_artifact(spacing_range=SpacingRange(slices_mm=(2, 6), in_plane_mm=(0.5, 2)))
    scan = write_ct(tmp_path / "scan.nii.gz", change(box_in_hounsfield()), spacing_mm)
    predictor = Predictor.load(artifact, threads=1)
    with pytest.raises(ContractError, match=message):
        predictor.predict(scan)
    summary = predictor.predict(scan, force=True).summary()
    assert summary["forced"] is True
    assert len(summary["warnings"]) == 1


@pytest.mark.parametrize("lowest", [-3024, -1024, -1000, -125, -60])
def test_no_ct_in_hounsfield_units_is_refused(make_artifact: MakeArtifact, lowest: int) -> None:
    volume = Volume(np.maximum(box_in_hounsfield(), lowest)[None], np.eye(4))
    assert Predictor.load(make_artifact(), threads=1).predict(volume).forced is False


def test_stored_numbers_are_judged_after_slope_and_intercept(make_artifact: MakeArtifact) -> None:
    volume = Volume(np.uint16(box_in_hounsfield() + 1024)[None], np.eye(4), intercept=-1024.0)
    prediction = Predictor.load(make_artifact(), threads=1).predict(volume)
    assert prediction.forced is False
    assert prediction.mask.array.any()


def test_a_header_without_orientation_is_told(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    image = nibabel.load(write_ct(tmp_path / "scan.nii"))
    image.header["sform_code"] = image.header["qform_code"] = 0
    nibabel.Nifti1Image(np.asarray(image.dataobj), None, image.header).to_filename(tmp_path / "bare.nii")
    prediction = Predictor.load(make_artifact(), threads=1).predict(tmp_path / "bare.nii")
    assert prediction.forced is False
    assert any("patient's left" in warning for warning in prediction.warnings)


def test_existing_files_and_other_suffixes_are_refused(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    prediction = Predictor.load(make_artifact(), threads=1).predict(write_ct(tmp_path / "scan.nii.gz"))
    with pytest.raises(OutputError, match=r"ends in \.nii\.gz"):
        prediction.save(tmp_path / "mask.png")
    (tmp_path / "mask.json").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        prediction.save(tmp_path / "mask.nii.gz")
    assert (tmp_path / "mask.json").read_text() == "mine"
    assert not (tmp_path / "mask.nii.gz").exists()


def test_other_files_are_refused_by_name(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    predictor = Predictor.load(make_artifact(), threads=1)
    (tmp_path / "scan.txt").write_text("?")
    with pytest.raises(FileFormatError, match="expected a NIfTI file"):
        predictor.predict(tmp_path / "scan.txt")
    with pytest.raises(FileFormatError, match="no such file"):
        predictor.predict(tmp_path / "absent.nii.gz")


def test_structure_volumes_count_every_voxel_once() -> None:
    generator = np.random.default_rng(0)
    array = np.asfortranarray(generator.integers(0, 3, (130, 110, 90)).astype(np.uint8))  # more than a counting block
    mask = LabelMap(array, np.diag([2.0, 1, 0.5, 1]))
    volumes = structure_volumes(mask, mask.counts(), LabelSet.from_names(["one", "two"]))
    assert volumes == {"one": round((array == 1).sum() / 1000, 3), "two": round((array == 2).sum() / 1000, 3)}


def test_a_real_ct_of_another_scanner_keeps_its_geometry(
    make_artifact: MakeArtifact, tmp_path: Path, shared_folder: Path
) -> None:
    scan = shared_folder / "data/readers/totalsegmentator_ct/example_ct_sm.nii.gz"
    preprocessing = Preprocessing.for_modality("CT", image_size=128)
    artifact = make_artifact(threshold_graph(size=128), preprocessing=preprocessing)
    prediction = Predictor.load(artifact, threads=1).predict(scan)
    prediction.save(tmp_path / "mask.nii.gz")
    before, after = nibabel.load(scan), nibabel.load(tmp_path / "mask.nii.gz")
    assert after.shape == before.shape
    np.testing.assert_array_equal(after.affine, before.affine)
    mask, bright = np.asarray(after.dataobj) > 0, before.get_fdata() > 75

    def dice(other: np.ndarray) -> float:
        return 2 * float((other & bright).sum()) / float(other.sum() + bright.sum())

    assert dice(mask) > 0.85
    assert all(dice(np.flip(mask, axis)) < 0.5 for axis in range(3))


BLOCKED_IMPORTS = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "scipy", "matplotlib", "onnx", "onnxscript", "safetensors", "yaml"}:
            raise ImportError(f"blocked: {name}")
sys.meta_path.insert(0, Blocker())
"""


def test_prediction_needs_only_the_base_install(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    scan = write_ct(tmp_path / "scan.nii.gz")
    program = BLOCKED_IMPORTS + "from embedded_vit.cli import main\nmain()"
    arguments = [
        "predict",
        str(make_artifact()),
        str(scan),
        "--output",
        str(tmp_path / "mask.nii.gz"),
        "--threads",
        "1",
    ]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mask.json").exists()


# VmHWM, not ru_maxrss: that one begins at the size of the process that started this one.
MEASURED_RUN = """
import re, sys
from pathlib import Path
import embedded_vit
embedded_vit.load(sys.argv[1], threads=1).predict(sys.argv[2]).save(sys.argv[3])
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_peak_memory_is_the_volume_and_less_than_300_mib(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    hounsfield = np.full((512, 512, 512), -1000, np.int16)  # 256 MiB
    hounsfield[100:300, 100:300, 100:300] = 400
    write_ct(tmp_path / "scan.nii", hounsfield, (1, 1, 1))
    del hounsfield
    arguments = [str(make_artifact()), str(tmp_path / "scan.nii"), str(tmp_path / "mask.nii")]
    done = subprocess.run([sys.executable, "-c", MEASURED_RUN, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 256 + 300
