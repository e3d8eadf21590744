"""The layout of a data set is recognised from its folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import make_split
from embedded_vit.errors import DataSetError
from embedded_vit.labels import SYNAPSE_LABELS


@pytest.mark.parametrize(
    ("fixture", "layout", "cases"),
    [
        ("synapse_folder", "TransUNet", 6),
        ("decathlon_folder", "Medical Segmentation Decathlon", 4),
        ("nnunet_folder", "nnU-Net v2 raw", 4),
    ],
)
def test_every_layout_is_recognised(fixture: str, layout: str, cases: int, request: pytest.FixtureRequest) -> None:
    data_set = open_data_set(request.getfixturevalue(fixture))
    assert data_set.layout == layout
    assert len(data_set.cases) == cases
    assert data_set.modality == "CT"
    assert data_set.labels.names == SYNAPSE_LABELS.names
    assert data_set.remarks == ()
    for case in data_set.cases:
        volume, labels = data_set.read_volume(case).reoriented(), data_set.read_labels(case).reoriented()
        assert volume.shape == labels.array.shape == (12, 96, 96)
        assert volume.intensities(6).min() < -120


def test_the_same_patient_is_the_same_in_every_layout(
    synapse_folder: Path, decathlon_folder: Path, nnunet_folder: Path
) -> None:
    transunet, decathlon, nnunet = map(open_data_set, (synapse_folder, decathlon_folder, nnunet_folder))
    first = [data_set.cases[0] for data_set in (transunet, decathlon, nnunet)]
    stored, msd, raw = (
        data_set.read_volume(case).reoriented()
        for data_set, case in zip((transunet, decathlon, nnunet), first, strict=True)
    )
    np.testing.assert_array_equal(msd.array, raw.array)
    np.testing.assert_allclose(stored.intensities(5), np.clip(msd.intensities(5), -125, 275), atol=1e-3)
    np.testing.assert_array_equal(
        transunet.read_labels(first[0]).array, decathlon.read_labels(first[1]).reoriented().array
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {},
            "it is empty.*known layouts: TransUNet .* nnU-Net .* Decathlon .* plain folders .* TotalSegmentator",
        ),
        ({"scan.dcm": ""}, r"no data set is recognised in it \(scan.dcm\)"),
        ({"dataset.json": "{"}, "not valid JSON"),
        ({"dataset.json": "[1]"}, "expected a JSON object, got list"),
        ({"dataset.json": "[" * 100_000}, "not valid JSON"),
        ({"dataset.json": "{}"}, "neither 'modality' nor 'channel_names'"),
    ],
)
def test_a_folder_of_another_kind_is_one_sentence(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(DataSetError, match=message) as caught:
        open_data_set(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_or_nothing_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataSetError, match="a file;"):
        open_data_set(tmp_path / "file")
    with pytest.raises(DataSetError, match="no such folder"):
        open_data_set(tmp_path / "absent")


def test_opening_needs_no_pytorch(synapse_folder: Path) -> None:
    program = (
        "import sys; from embedded_vit.datasets import open_data_set; "
        f"open_data_set({str(synapse_folder)!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_test_cases_of_the_layout_stay_test_cases(synapse_folder: Path) -> None:
    for seed in range(20):
        split = make_split(open_data_set(synapse_folder), seed=seed)
        assert split.test == ("case0005", "case0006")
        assert sorted(split.train + split.validation) == ["case0001", "case0002", "case0003", "case0004"]


def test_the_real_hippocampus_task_opens(shared_folder: Path) -> None:
    data_set = open_data_set(shared_folder / "data" / "decathlon" / "Task04_Hippocampus")
    assert len(data_set.cases) == 220
    assert (data_set.modality, data_set.labels.names) == ("MR", ("Anterior", "Posterior"))
    case = data_set.case("hippocampus_004")
    assert data_set.read_volume(case).shape == data_set.read_labels(case).array.shape
