"""What a folder or several files mean, how masks are called, what is told, and how a run that was stopped goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from artifact_fixtures import RunVerb, threshold_graph
from dicom_fixtures import write_series
from leftover_fixtures import NOBODY, left_by

from embedded_vit.errors import ContractError, InputError, OutputError
from embedded_vit.io.atomic import temporary_beside
from embedded_vit.io.mask_file import read_summary
from embedded_vit.predict.folder import Listener, predict_path
from embedded_vit.predict.predictor import Predictor
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.volume import LabelMap, Volume

MakeArtifact = Callable[..., Path]
AFFINE = np.diag([1.0, 1, 3, 1])


def hounsfield(*, box: tuple[slice, ...] = (slice(8, 16), slice(8, 16), slice(1, 3))) -> np.ndarray:
    array = np.full((32, 32, 4), -1000, np.int16)
    array[box] = 400
    return array


def write_ct(path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(hounsfield(**options), AFFINE), path)
    return path


def files_in(folder: Path) -> list[str]:
    """The files below a folder without previews and tables, which test_beside_masks.py looks at."""
    paths = (path for path in folder.rglob("*") if not path.name.endswith(("_preview.png", "volumes.csv")))
    return sorted(str(path.relative_to(folder)) for path in paths if path.is_file())


class Said(list):
    """Collects what a prediction says."""

    @property
    def listener(self) -> Listener:
        return Listener(on_failure=lambda error: self.append(str(error)), on_remark=self.append)


@pytest.fixture
def predictor(make_artifact: MakeArtifact) -> Predictor:
    return Predictor.load(make_artifact(), threads=1)


@pytest.fixture
def two_channels(make_artifact: MakeArtifact) -> Predictor:
    """A model of T1 and T2 that marks what is bright in T1."""
    graph = threshold_graph(channels=2)
    preprocessing = Preprocessing.for_modality("MR", image_size=32, channels=("T1", "T2"))
    return Predictor.load(make_artifact(graph, "two.onnx", preprocessing=preprocessing), threads=1)


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("box", "touches"),
    [
        ((slice(8, 16), slice(8, 16), slice(1, 3)), False),
        ((slice(8, 16), slice(8, 16), slice(0, 3)), True),
        ((slice(8, 16), slice(8, 16), slice(1, 4)), True),
        ((slice(0, 16), slice(8, 16), slice(1, 3)), True),
        ((slice(8, 16), slice(16, 32), slice(1, 3)), True),
    ],
)
def test_a_structure_at_the_border_is_told(predictor: Predictor, box: tuple[slice, ...], touches: bool) -> None:
    for axes in ((0, 1, 2), (2, 0, 1)):
        volume = Volume(hounsfield(box=box).transpose(axes)[None], AFFINE[:, [*axes, 3]])
        prediction = predictor.predict(volume)
        assert prediction.summary()["touches_border"] == {"bright": touches}
        cut = [warning for warning in prediction.warnings if "border" in warning]
        assert cut == (["at the border of the scan, perhaps cut off: bright"] if touches else [])


def test_the_border_is_seen_on_the_disk_as_in_memory() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        array = np.zeros((5, 6, 7), np.uint8)
        array[tuple(generator.integers(0, length) for length in array.shape)] = 3
        edge = any(place in (0, length - 1) for place, length in zip(np.argwhere(array)[0], array.shape, strict=True))
        found = LabelMap(array, np.eye(4)).at_border()
        assert found[3] == edge
        assert found[0]
        assert not found[1]
    assert not LabelMap(np.ones((1, 1, 1), np.uint8), np.eye(4)).at_border().any()  # no axis has two planes


def test_warnings_are_printed(make_artifact: MakeArtifact, tmp_path: Path, predict: RunVerb) -> None:
    scan = write_ct(tmp_path / "scan.nii.gz", box=np.s_[8:16, 8:16, 0:3])
    status, shown, told = predict(make_artifact(), scan, "-o", tmp_path / "mask.nii.gz")
    assert status == 0, told
    assert "scan.nii.gz: warning: at the border of the scan, perhaps cut off: bright" in told
    assert shown.split() == [str(tmp_path / "mask.nii.gz")]


def test_masks_are_called_as_their_cases(predictor: Predictor, tmp_path: Path) -> None:
    write_ct(tmp_path / "in" / "chest_001_0000.nii.gz")
    write_ct(tmp_path / "in" / "b" / "series_0000.nii.gz")
    write_ct(tmp_path / "in" / "b" / "series_0001.nii.gz")  # a model of one channel: two scans
    predict_path(predictor, tmp_path / "in", tmp_path / "out")
    masks = [name for name in files_in(tmp_path / "out") if name.endswith(".gz")]
    assert masks == ["b/series_0000.nii.gz", "b/series_0001.nii.gz", "chest_001.nii.gz"]
    (tmp_path / "one").mkdir()
    predict_path(predictor, tmp_path / "in" / "chest_001_0000.nii.gz", tmp_path / "one")
    assert files_in(tmp_path / "one") == ["chest_001.json", "chest_001.nii.gz"]


def test_masks_of_a_data_set_and_our_own_are_not_segmented(predictor: Predictor, tmp_path: Path) -> None:
    for name in ("imagesTr/a_0000.nii.gz", "imagesTs/b_0000.nii.gz", "labelsTr/a.nii.gz", "labelsTs/b.nii.gz"):
        write_ct(tmp_path / "set" / name)
    said = Said()
    predict_path(predictor, tmp_path / "set", tmp_path / "out", listener=said.listener)
    assert files_in(tmp_path / "out") == [
        "imagesTr/a.json", "imagesTr/a.nii.gz", "imagesTs/b.json", "imagesTs/b.nii.gz"
    ]  # fmt: skip
    assert sum("masks of a data set" in sentence for sentence in said) == 2
    scans = tmp_path / "scans"
    write_ct(scans / "c.nii.gz")
    predict_path(predictor, scans / "c.nii.gz", scans / "mask.nii.gz")
    predict_path(predictor, scans, tmp_path / "again", listener=said.listener)
    assert files_in(tmp_path / "again") == ["c.json", "c.nii.gz"]
    assert any("mask.nii.gz: a mask of this program" in sentence for sentence in said)


def test_nifti_files_beside_a_series_are_segmented_too(predictor: Predictor, tmp_path: Path) -> None:
    stored = np.full((4, 16, 16), -1000, np.int16)
    stored[1:3, 4:8, 4:8] = 400
    write_series(tmp_path / "patient", stored)
    write_ct(tmp_path / "patient" / "other.nii.gz")
    with pytest.raises(OutputError, match="holds 2 scans; give a folder"):
        predict_path(predictor, tmp_path / "patient", tmp_path / "mask.nii.gz")
    predict_path(predictor, tmp_path / "patient", tmp_path / "out")
    assert files_in(tmp_path / "out") == ["other.json", "other.nii.gz", "patient.json", "patient.nii.gz"]


def test_a_series_spread_over_folders_gets_one_mask(predictor: Predictor, tmp_path: Path) -> None:
    stored = np.full((6, 16, 16), -1000, np.int16)
    stored[1:5, 4:8, 4:8] = 400
    for patient in ("p1", "p2"):
        for index, path in enumerate(write_series(tmp_path / "whole", stored)):
            place = tmp_path / "in" / patient / f"part{index // 2}"
            place.mkdir(parents=True, exist_ok=True)
            shutil.move(path, place)
    masks = predict_path(predictor, tmp_path / "in" / "p1", tmp_path / "one.nii.gz")
    assert nibabel.load(masks[0]).shape == (16, 16, 6)
    # Patients whose series have one identity, as some tools make it, stay apart: their slices lie at the same places.
    assert len(predict_path(predictor, tmp_path / "in", tmp_path / "out")) == 2


@pytest.fixture
def case(tmp_path: Path) -> list[Path]:
    """A case of two files: T1 is bright in a box, T2 elsewhere."""
    boxes = (np.s_[8:16, 8:16, 1:3], np.s_[20:28, 20:28, 1:3])
    paths = []
    for number, box in enumerate(boxes):
        array = np.random.default_rng(number).integers(1, 20, (32, 32, 4)).astype(np.int16)
        array[box] = 1000
        paths.append(tmp_path / "case" / f"a_{number:04d}.nii.gz")
        paths[-1].parent.mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), paths[-1])
    return paths


def test_a_case_of_several_files_is_segmented_in_any_order(
    two_channels: Predictor, case: list[Path], tmp_path: Path
) -> None:
    said = Said()
    predict_path(two_channels, case, tmp_path / "one.nii.gz", listener=said.listener)
    mask = np.asarray(nibabel.load(tmp_path / "one.nii.gz").dataobj)
    assert mask[8:16, 8:16, 1:3].all()
    assert mask.sum() == 128
    assert any("channels: T1 = a_0000.nii.gz, T2 = a_0001.nii.gz" in sentence for sentence in said)
    predict_path(two_channels, case[::-1], tmp_path / "two.nii.gz")
    predict_path(two_channels, tmp_path / "case", tmp_path / "out")
    turned = nibabel.load(case[1]).as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
    nibabel.save(turned, case[1])
    predict_path(two_channels, case, tmp_path / "turned.nii.gz")
    for name in ("two.nii.gz", "out/a.nii.gz", "turned.nii.gz"):
        np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / name).dataobj), mask)


def test_channels_are_matched_by_their_names(two_channels: Predictor, case: list[Path], tmp_path: Path) -> None:
    named = [case[0].rename(case[0].with_name("a_t1.nii.gz")), case[1].rename(case[1].with_name("a_T2.nii.gz"))]
    predict_path(two_channels, named[::-1], tmp_path / "mask.nii.gz")
    assert np.asarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj)[8:16, 8:16, 1:3].all()
    wrong = named[1].rename(named[1].with_name("b_T1.nii.gz"))
    with pytest.raises(ContractError, match="do not tell which is which of T1, T2"):
        predict_path(two_channels, [named[0], wrong], tmp_path / "other.nii.gz")
    with pytest.raises(ContractError, match="3 files, this artifact takes 2 channels: T1, T2"):
        predict_path(two_channels, [*named, named[0]], tmp_path / "other.nii.gz")


def test_several_channels_come_from_the_disk_as_from_memory(
    two_channels: Predictor, case: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = two_channels.predict(case)
    monkeypatch.setattr(Predictor, "_room_bytes", lambda *_: 0)
    on_disk = two_channels.predict(case)
    np.testing.assert_array_equal(on_disk.mask.array, in_memory.mask.array)
    assert on_disk.input_sha256 == in_memory.input_sha256


def test_a_stopped_run_goes_on_and_sweeps(predictor: Predictor, make_artifact: MakeArtifact, tmp_path: Path) -> None:
    for name in "abc":
        write_ct(tmp_path / "in" / f"{name}.nii.gz")
    out = tmp_path / "out"
    predict_path(predictor, tmp_path / "in", out)
    (out / "b.nii.gz").unlink()  # killed between the summary and the mask
    left_by(NOBODY, out / "c.nii.gz").write_bytes(b"half a mask")
    ours = temporary_beside(out / "c.nii.gz")
    ours.write_bytes(b"another thread writes")
    said = Said()
    assert len(predict_path(predictor, tmp_path / "in", out, listener=said.listener)) == 3
    assert f"{out}: 2 were there already" in said
    ours.unlink()
    assert files_in(out) == ["a.json", "a.nii.gz", "b.json", "b.nii.gz", "c.json", "c.nii.gz"]
    left_by(NOBODY, out / "volumes.csv").write_bytes(b"half a table")  # killed at the very end: nothing is left to do
    predict_path(predictor, tmp_path / "in", out)
    assert list(out.glob(".*")) == []
    other = Predictor.load(make_artifact(name="other.onnx", created="2027-01-01T00:00:00+00:00"), threads=1)
    said.clear()
    with pytest.raises(InputError, match="3 of 3 scans failed"):
        predict_path(other, tmp_path / "in", out, listener=said.listener)
    assert [sentence for sentence in said if "exists already, by model threshold and version" not in sentence] == []


def test_a_mask_that_is_there_is_complete(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The summary takes its place before the mask, which is what says that a scan is done."""
    scan, out = write_ct(tmp_path / "scan.nii.gz"), tmp_path / "mask.nii.gz"
    renamed = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (renamed.append(Path(new).name), replace(old, new)))
    predict_path(predictor, scan, out)
    assert [name for name in renamed if not name.startswith(".")] == ["mask.json", "mask_preview.png", "mask.nii.gz"]
    assert read_summary(tmp_path / "mask.json") == json.loads((tmp_path / "mask.json").read_text())


def test_names_are_shown_escaped(make_artifact: MakeArtifact, tmp_path: Path, predict: RunVerb) -> None:
    scans = tmp_path / "scans"
    write_ct(scans / "a\x1b[31m.nii.gz", box=np.s_[8:16, 8:16, 0:3])
    (scans / "b\x1b]0;title\x07.nii.gz").write_bytes(b"damaged")
    status, shown, told = predict(make_artifact(), scans, "-o", tmp_path / "out")
    assert status == 2
    assert r"b\x1b]0;title\x07.nii.gz: " in told
    assert "\x1b[31m.nii" not in told + shown
    assert "\x07" not in told + shown


def test_an_amount_without_unit_asks_for_it(make_artifact: MakeArtifact, tmp_path: Path, predict: RunVerb) -> None:
    scan = write_ct(tmp_path / "scan.nii.gz")
    status, _, told = predict(make_artifact(), scan, "-o", tmp_path / "mask.nii.gz", "--memory", "200")
    assert status == 2
    assert "--memory '200': 200 bytes, or 200M? give the unit: K, M or G" in told


def test_an_array_is_refused_in_one_line(predictor: Predictor) -> None:
    with pytest.raises(InputError, match=r"a scan of type ndarray: .* Volume\(array\[None\], affine\)"):
        predictor.predict(hounsfield())  # type: ignore[arg-type]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read and write everything")
def test_places_that_may_not_be_read_or_written_are_one_line(
    make_artifact: MakeArtifact, tmp_path: Path, predict: RunVerb
) -> None:
    scan = write_ct(tmp_path / "in" / "scan.nii.gz")
    for closed, arguments in (
        (tmp_path / "in", (scan, "-o", tmp_path / "mask.nii.gz")),
        (tmp_path / "in", (tmp_path / "in", "-o", tmp_path / "out")),
    ):
        closed.chmod(0)
        status, _, told = predict(make_artifact(), *arguments)
        closed.chmod(0o755)
        assert status == 2
        assert len(told.splitlines()) == 1


def test_a_file_where_a_folder_is_wanted_is_one_line(
    make_artifact: MakeArtifact, tmp_path: Path, predict: RunVerb
) -> None:
    scan = write_ct(tmp_path / "scan.nii.gz")
    for output in (scan / "mask.nii.gz", tmp_path / "model.onnx" / "deep" / "mask.nii.gz"):
        status, _, told = predict(make_artifact(), scan, "-o", output)
        assert status == 2
        assert len(told.splitlines()) == 1
        assert f"embedded-vit: {output}: cannot write: " in told
