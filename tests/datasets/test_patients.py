from pathlib import Path

import pytest

from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import Case, make_split
from embedded_vit.datasets.file_data_set import FileDataSet
from embedded_vit.datasets.patients import noticed_patients, with_patients
from embedded_vit.errors import ConfigError, DataSetError
from embedded_vit.labels import LabelSet

HEARTS = [f"patient{patient:03d}_frame{frame:02d}" for patient in (1, 2, 3, 4) for frame in (1, 12)]


def data_set_of(folder: Path, names: list[str]) -> FileDataSet:
    cases = tuple(Case(name, name) for name in names)
    labels = LabelSet.from_names(["liver"])
    return FileDataSet(folder=folder, name="d", modality="MR", channels=("MR",), labels=labels, cases=cases)


def patients_of(data_set: FileDataSet) -> list[str]:
    return [case.patient for case in data_set.cases]


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (HEARTS, ["patient001"] * 2 + ["patient002"] * 2 + ["patient003"] * 2 + ["patient004"] * 2),
        (["ab12_visit1", "ab12_visit2", "ab13_visit1"], ["ab12", "ab12", "ab13"]),
        (["s-7_ED", "s-7_ES", "s-8_ED"], ["s-7", "s-7", "s-8"]),
        (["sub-01_ses-1", "sub-01_ses-2", "sub-02"], ["sub-01", "sub-01", "sub-02"]),
    ],
)
def test_patients_are_noticed_in_names(names: list[str], patients: list[str]) -> None:
    assert [noticed_patients(names)[name] for name in names] == patients


@pytest.mark.parametrize(
    "names",
    [
        ["hippocampus_001", "hippocampus_002"],
        ["case0001", "case0002"],
        ["patient1", "patient2"],
        ["frame1", "frame2"],  # of whom is not said
        ["la_patient1_ed", "la_patient1_es"],  # all of one patient: nothing could be split
    ],
)
def test_names_that_tell_nothing_leave_a_case_a_patient(names: list[str], tmp_path: Path) -> None:
    assert noticed_patients(names) == {}
    assert patients_of(with_patients(data_set_of(tmp_path, names))) == names


def test_a_split_keeps_noticed_patients_together_and_a_remark_says_so(tmp_path: Path) -> None:
    data_set = with_patients(data_set_of(tmp_path, HEARTS))
    for seed in range(5):
        split = make_split(data_set, seed=seed)
        sides = [{name[:10] for name in side} for side in (split.train, split.validation, split.test)]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 4
    assert "8 cases of 4 patients" in data_set.remarks[0]


def test_a_pattern_decides_before_the_table_and_the_names(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("case,patient\n")
    data_set = with_patients(data_set_of(tmp_path, ["x1_p7", "x2_p7", "x3_p8"]), r"_p(\d)")
    assert patients_of(data_set) == ["7", "7", "8"]
    assert data_set.remarks == ()


def test_a_pattern_that_matches_not_every_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"--patient 'x\\d' does not match the case 'y1'"):
        with_patients(data_set_of(tmp_path, ["x1", "y1"]), r"x\d")
    with pytest.raises(ConfigError, match="not a regular expression"):
        with_patients(data_set_of(tmp_path, ["x1"]), "x(")


@pytest.mark.parametrize("text", ["case,patient\na,7\nb,7\nc,8\n", "\ufeffPatient;Case\r\n7;a\r\n7;b\r\n8;c\r\n"])
def test_the_table_says_who_is_who(text: str, tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text(text, encoding="utf-8")
    assert patients_of(with_patients(data_set_of(tmp_path, ["a", "b", "c"]))) == ["7", "7", "8"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,patient\na,7\n", "case 'b' is not in it"),
        ("name,who\na,7\n", "its columns are name, who; expected case,patient"),
        ("case,patient\na,7\na,8\n", "line 3: case 'a' has two patients"),
        ("case,patient\na,\n", "line 2: a case or its patient is empty"),
        ('case,patient\na,"7\n', "not valid CSV"),
        ("", "its columns are none"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text(text)
    with pytest.raises(DataSetError, match=message) as raised:
        with_patients(data_set_of(tmp_path, ["a", "b"]))
    assert "\n" not in str(raised.value)


def test_every_verb_sees_the_table(nnunet_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.symlink_to(nnunet_folder)
    names = [case.name for case in open_data_set(folder).cases]
    (nnunet_folder / "patients.csv").write_text("case,patient\n" + "".join(f"{name},one\n" for name in names))
    try:
        assert {case.patient for case in open_data_set(folder).cases} == {"one"}
    finally:
        (nnunet_folder / "patients.csv").unlink()
