"""What lies beside a mask: brightness, certainty, a preview, probabilities, names, a table of a folder."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from artifact_fixtures import DARK_AND_BRIGHT, dark_and_bright_graph, threshold_graph
from PIL import Image

from embedded_vit.errors import OutputError
from embedded_vit.labels import LabelSet
from embedded_vit.predict.folder import Listener, predict_path
from embedded_vit.predict.predictor import Prediction, Predictor
from embedded_vit.predict.preview import TILE
from embedded_vit.predict.results import Results
from embedded_vit.preprocessing import Preprocessing

MakeArtifact = Callable[..., Path]
pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked:UserWarning")
AFFINE = np.diag([-1.5, -1.5, 4, 1.0])


def write_ct(path: Path, *, seed: int = 0, codes: str = "LPS") -> Path:
    """A CT of 40 x 48 x 6 voxels: fat with a noisy box in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    hounsfield = random.integers(-190, -130, (40, 48, 6)).astype(np.int16)  # fat
    hounsfield[8:24, 8:20, 1:4] = random.integers(150, 400, (16, 12, 3))
    image = nibabel.Nifti1Image(hounsfield, AFFINE)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(AFFINE), nibabel.orientations.axcodes2ornt(tuple(codes))
    )
    nibabel.save(image.as_reoriented(turn), path)
    return path


@pytest.fixture
def predictor(make_artifact: MakeArtifact) -> Predictor:
    return Predictor.load(make_artifact(), threads=2)


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


@pytest.mark.parametrize("codes", ["LPS", "SAR"])
def test_the_summary_tells_brightness_and_certainty(predictor: Predictor, tmp_path: Path, codes: str) -> None:
    scan = write_ct(tmp_path / "scan.nii.gz", codes=codes)
    predictor.predict(scan).save(tmp_path / "mask.nii.gz")
    summary = json.loads((tmp_path / "mask.json").read_text())
    found = voxels(scan)[voxels(tmp_path / "mask.nii.gz") == 1]
    assert len(found) > 100
    assert summary["intensities"]["bright"]["CT"]["mean"] == pytest.approx(found.mean(), rel=1e-5)
    assert summary["intensities"]["bright"]["CT"]["deviation"] == pytest.approx(found.std(), rel=1e-5)
    assert 0.5 < summary["mean_probability"]["bright"] < 1


def test_a_structure_that_is_not_there_has_neither(predictor: Predictor, tmp_path: Path) -> None:
    air = nibabel.Nifti1Image(np.full((32, 32, 4), -1000, np.int16), AFFINE)
    nibabel.save(air, tmp_path / "air.nii.gz")
    prediction = predictor.predict(tmp_path / "air.nii.gz", force=True)
    assert prediction.summary()["intensities"] == {"bright": None}
    assert prediction.summary()["mean_probability"] == {"bright": None}
    assert prediction.preview is not None  # of the slices, with nothing drawn over them
    assert not prediction.preview.any()


def test_the_preview_shows_slices_with_structures_in_their_proportions(predictor: Predictor, tmp_path: Path) -> None:
    predictor.predict(write_ct(tmp_path / "scan.nii.gz")).save(tmp_path / "mask.nii.gz")
    page = np.asarray(Image.open(tmp_path / "mask_preview.png"))
    colour = np.array(LabelSet.from_names(["bright"]).labels[0].rgb)
    down, across = TILE, round(TILE * 40 / 48)
    assert page.shape == (down, 3 * across, 3)  # the three slices that hold the box, side by side
    for tile in range(3):
        outline = (page[:, tile * across : (tile + 1) * across] == colour).all(axis=-1)
        rows, columns = np.nonzero(outline)
        # The box: voxels 8 to 24 of 40 from the patient's right, 8 to 20 of 48 from the front.
        assert (columns.min() / across, columns.max() / across) == pytest.approx((8 / 40, 24 / 40), abs=0.05)
        assert (rows.min() / down, rows.max() / down) == pytest.approx((8 / 48, 20 / 48), abs=0.05)


def softmax_of(predictor: Predictor, scan: Path, tmp_path: Path, **options: object) -> tuple[Prediction, np.ndarray]:
    prediction = predictor.predict(scan, probabilities=True, **options)
    prediction.save(tmp_path / "mask.nii.gz", overwrite=True)
    return prediction, nibabel.load(tmp_path / "mask_probabilities.nii.gz").get_fdata()


@pytest.mark.parametrize("codes", ["LPS", "IAR"])
def test_probabilities_lie_on_the_scans_grid_in_memory_and_on_the_disk(
    predictor: Predictor, tmp_path: Path, codes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = write_ct(tmp_path / "scan.nii.gz", codes=codes)
    prediction, found = softmax_of(predictor, scan, tmp_path)
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    assert found.shape == (*mask.shape, 1)
    probabilities = nibabel.load(tmp_path / "mask_probabilities.nii.gz")
    np.testing.assert_array_equal(probabilities.affine, mask.affine)
    assert probabilities.get_data_dtype() == np.uint8
    labelled = np.asarray(mask.dataobj) == 1
    assert found[..., 0][labelled].min() >= 0.5 - 1 / 255
    assert found[..., 0][~labelled].max() <= 0.5 + 1 / 255
    before = (tmp_path / "mask_probabilities.nii.gz").read_bytes()
    monkeypatch.setattr("embedded_vit.predict.predictor.room_below", lambda _: 25_000)  # bytes; the scan has 23,040
    on_disk, _ = softmax_of(predictor, scan, tmp_path, memory_bytes=2**32, spool_folder=tmp_path)
    assert type(on_disk.mask) is not type(prediction.mask)
    assert (tmp_path / "mask_probabilities.nii.gz").read_bytes() == before


def test_probabilities_are_the_softmax_of_enlarged_logits(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    """Where the network sees as many pixels as the slice has, they can be said by hand."""
    artifact = make_artifact(threshold_graph(48), preprocessing=Preprocessing.for_modality("CT", image_size=48))
    scan = write_ct(tmp_path / "scan.nii.gz")
    _, found = softmax_of(Predictor.load(artifact, threads=1), scan, tmp_path)
    seen = (np.clip(voxels(scan), -125, 275) - 75.0) / 200  # the network's input; its logits are (-seen, seen)
    np.testing.assert_allclose(found[..., 0], 1 / (1 + np.exp(-2 * seen)), atol=0.5 / 255 + 1e-6)


def test_a_folder_gets_probabilities_where_they_are_asked_for(predict, make_artifact, tmp_path: Path) -> None:
    write_ct(tmp_path / "scans" / "a.nii.gz")
    command = (make_artifact(), tmp_path / "scans", "-o", tmp_path / "out", "--probabilities")
    status, printed, _ = predict(*command)
    assert status == 0
    assert printed.split() == [str(tmp_path / "out" / f"a{ending}.nii.gz") for ending in ("_probabilities", "")]
    assert predict(*command)[0] == 0  # all is there already
    status, _, errors = predict(make_artifact(), tmp_path / "out", "-o", tmp_path / "again")  # masks are no scans
    assert (status, "no scan in this folder" in errors) == (2, True)
    status, _, errors = predict(*command[:-2], tmp_path / "seg", "--probabilities", "--format", "dicom-seg")
    assert (status, "they lie beside the mask" in errors) == (2, True)


def test_names_of_structures_are_in_the_masks_file(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    artifact = make_artifact(labels=LabelSet.from_names(["spleen & <co>"]))
    prediction = Predictor.load(artifact, threads=1).predict(write_ct(tmp_path / "scan.nii.gz"), probabilities=True)
    prediction.save(tmp_path / "mask.nii.gz")
    for name in ("mask.nii.gz", "mask_probabilities.nii.gz"):
        [extension] = nibabel.load(tmp_path / name).header.extensions
        assert extension.get_code() == 30
        [label] = ElementTree.fromstring(extension.content).findall("VolumeInformation/LabelTable/Label")
        assert (label.get("Key"), label.text) == ("1", "spleen & <co>")
    assert voxels(tmp_path / "mask.nii.gz").any()


@pytest.mark.skipif(shutil.which("wb_command") is None, reason="Connectome Workbench (wb_command) is not installed")
def test_connectome_workbench_reads_the_names(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    artifact = make_artifact(labels=LabelSet.from_names(["left kidney"]))
    Predictor.load(artifact, threads=1).predict(write_ct(tmp_path / "scan.nii.gz")).save(tmp_path / "mask.nii.gz")
    command = ["wb_command", "-volume-label-export-table", tmp_path / "mask.nii.gz", "1", tmp_path / "table.txt"]
    subprocess.run(command, check=True, capture_output=True)
    name, numbers = (tmp_path / "table.txt").read_text().splitlines()[:2]
    assert (name, numbers.split()) == ("left kidney", ["1", "31", "119", "180", "255"])


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "volumes.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_of_masks_has_one_table(predictor: Predictor, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    for seed, name in enumerate(("b/one.nii.gz", "a.nii.gz")):
        write_ct(scans / name, seed=seed)
    predict_path(predictor, scans, out)
    rows = rows_of(out)
    assert [row["mask"] for row in rows] == ["a.nii.gz", "b/one.nii.gz"]
    for row in rows:
        summary = json.loads((out / row["mask"].replace(".nii.gz", ".json")).read_text())
        assert float(row["bright"]) == summary["volumes"]["bright"] > 0
        assert (row["model"], row["unit"], row["forced"]) == ("threshold", "ml", "0")
        assert int(row["warnings"]) == len(summary["warnings"])
    # Another run into the same folder adds to the table; a mask that is gone leaves it.
    (out / "a.nii.gz").unlink()
    write_ct(tmp_path / "more" / "c.nii.gz")
    predict_path(predictor, tmp_path / "more", out)
    assert [row["mask"] for row in rows_of(out)] == ["b/one.nii.gz", "c.nii.gz"]


def test_regions_of_structures_have_their_sizes(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    predictor = Predictor.load(make_artifact(dark_and_bright_graph(), labels=DARK_AND_BRIGHT), threads=1)
    predict_path(predictor, write_ct(tmp_path / "scans" / "a.nii.gz").parent, tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "a.json").read_text())
    volumes, mask = summary["volumes"], nibabel.load(tmp_path / "out" / "a.nii.gz")
    voxels = np.bincount(np.asanyarray(mask.dataobj).ravel(), minlength=3)
    assert 0 < volumes["bright"] != volumes["dark"] > 0
    assert summary["regions"]["the dark"] == volumes["dark"]
    both = (voxels[1] + voxels[2]) * np.prod(mask.header.get_zooms()) / 1000
    assert summary["regions"]["both"] == pytest.approx(both, abs=0.0011)
    assert summary["regions"]["both"] > max(volumes.values())
    [row] = rows_of(tmp_path / "out")
    assert {name: float(row[name]) for name in summary["regions"]} == summary["regions"]
    prediction = replace(predictor.predict(tmp_path / "scans" / "a.nii.gz"), volumes={"bright": 0.1, "dark": 0.2})
    assert prediction.regions == {"both": 0.3, "the dark": 0.2}


def test_a_scan_that_fails_is_not_in_the_table_and_others_are(predictor: Predictor, tmp_path: Path) -> None:
    write_ct(tmp_path / "scans" / "good.nii.gz")
    (tmp_path / "scans" / "bad.nii.gz").write_bytes(b"nothing")
    failed: list[object] = []
    with pytest.raises(Exception, match="1 of 2 scans failed"):
        predict_path(predictor, tmp_path / "scans", tmp_path / "out", listener=Listener(on_failure=failed.append))
    assert [row["mask"] for row in rows_of(tmp_path / "out")] == ["good.nii.gz"]


def test_another_table_is_not_written_over(predictor: Predictor, tmp_path: Path) -> None:
    write_ct(tmp_path / "scans" / "a.nii.gz")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "volumes.csv").write_text("patient,dose\n")
    with pytest.raises(OutputError, match=r"volumes.csv: exists already and is not a list of ours"):
        predict_path(predictor, tmp_path / "scans", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["volumes.csv"]


def test_what_lies_beside_a_mask_is_refused_as_the_mask_is(predictor: Predictor, tmp_path: Path) -> None:
    scan = write_ct(tmp_path / "scan.nii.gz")
    for name in ("mask_preview.png", "mask_probabilities.nii.gz"):
        (tmp_path / name).write_bytes(b"of somebody else")
        with pytest.raises(OutputError, match=f"{name}: exists already"):
            predictor.predict(scan, probabilities=True).save(tmp_path / "mask.nii.gz")
        (tmp_path / name).unlink()
    predict_path(predictor, scan, tmp_path / "mask.nii.gz", results=Results(probabilities=True))
    assert (tmp_path / "mask_probabilities.nii.gz").exists()
