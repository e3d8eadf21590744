from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from memory_data_set import box_mask, evaluated_model, install, memory_data_set

from embedded_vit.about import RESEARCH_USE_ONLY
from embedded_vit.errors import ConfigError, DataSetError, FileFormatError, OutputError
from embedded_vit.evaluation.evaluating import evaluate
from embedded_vit.evaluation.table import text_table

LIVER = (1, slice(1, 5), slice(2, 14), slice(2, 14))
LEFT_KIDNEY = (2, slice(2, 4), slice(18, 26), slice(4, 12))
SPLEEN = (3, slice(1, 3), slice(18, 28), slice(18, 28))

TRUTHS = {
    "case1": box_mask(LIVER, LEFT_KIDNEY),
    "case2": box_mask(LIVER, LEFT_KIDNEY),
    "case3": box_mask(LIVER, SPLEEN),
}
SHOWN = {"case2": box_mask(LIVER), "case3": box_mask(LIVER, LEFT_KIDNEY, SPLEEN)}  # one missed, one false positive
SPLIT = {"train": ["case1"], "test": ["case2", "case3"]}


def run(monkeypatch, output: Path, *, split=None, **options):
    install(monkeypatch, evaluated_model(SPLIT if split is None else split), memory_data_set(TRUTHS, SHOWN))
    return evaluate(Path("model.onnx"), Path("data"), output=output, **options)


def metrics_of(output: Path) -> dict:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not valid JSON")

    return json.loads((output / "metrics.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_means_leave_out_what_is_excluded_and_count_it(monkeypatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path)
    metrics = metrics_of(tmp_path)
    # Over both cases: liver 1, 1; left kidney 0 (missed), 0 (false positive); spleen excluded, 1.
    assert {name: organ["dice"] for name, organ in metrics["organs"].items()} == {
        "liver": 1.0,
        "left <kidney>": 0.0,
        "spleen": 1.0,
    }
    assert metrics["mean"]["dice"] == pytest.approx(2 / 3)
    assert metrics["counts"] == {"cases": 2, "patients": 2, "scored": 5, "excluded": 1, "missed": 1, "hallucinated": 1}
    assert metrics["cases"]["case2"]["mean"]["dice"] == pytest.approx(0.5)
    assert metrics["cases"]["case2"]["organs"]["spleen"]["dice"] is None
    low, high = metrics["organs"]["left <kidney>"]["interval_95"]["dice"]
    assert (low, high) == (0, 0)


def test_metrics_say_protocol_split_units_digests_and_use(monkeypatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path)
    metrics = metrics_of(tmp_path)
    assert metrics["protocol"]["name"] == "strict"
    assert metrics["split"] == "test"
    assert metrics["units"] == {"hd95": "mm", "nsd_tolerance": "2 mm"}
    assert metrics["use"] == RESEARCH_USE_ONLY
    assert len(metrics["data"]["sha256"]) == 64
    assert metrics["model"]["sha256"] == "0" * 64
    assert {"embedded-vit", "numpy"} <= set(metrics["versions"])


def test_the_csv_holds_a_row_a_case_and_structure(monkeypatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path)
    with open(tmp_path / "cases.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["organ"]) for row in rows] == [
        (case, organ) for case in ("case2", "case3") for organ in ("liver", "left <kidney>", "spleen")
    ]
    missed, excluded, false_positive = rows[1], rows[2], rows[4]
    assert (missed["dice"], missed["missed"], missed["hallucinated"]) == ("0.000000", "1", "0")
    assert (excluded["dice"], excluded["hd95_mm"], excluded["excluded"]) == ("", "", "1")
    assert (false_positive["missed"], false_positive["hallucinated"]) == ("0", "1")


class PageChecker(HTMLParser):
    """Collects what a page would load, and whether its elements are closed in order."""

    VOID = ("meta", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attributes) -> None:
        self.tags.add(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data


def test_the_report_is_one_file_that_loads_nothing(monkeypatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = PageChecker()
    page.feed(html)
    assert page.open == []
    assert page.addresses
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe"} & page.tags
    assert "url(" not in html
    assert "@import" not in html


def test_the_report_shows_banner_slices_and_escaped_names(monkeypatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = PageChecker()
    page.feed(html)
    assert RESEARCH_USE_ONLY in page.text
    assert "left <kidney>" in page.text  # escaped in the file, whole on the page
    assert "<kidney>" not in html
    for title in ("Best", "Worst", "Prediction", "case3", "0.667"):
        assert title in page.text


def test_results_are_never_written_over(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("kept")
    with pytest.raises(OutputError, match=r"metrics\.json"):
        run(monkeypatch, tmp_path)
    assert (tmp_path / "metrics.json").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_an_output_that_is_a_file_is_refused(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file, where a folder is expected"):
        run(monkeypatch, tmp_path / "file")


def test_no_threads_are_refused(monkeypatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="threads"):
        run(monkeypatch, tmp_path, threads=0)


def test_all_takes_training_cases_too_and_says_so(monkeypatch, tmp_path: Path) -> None:
    evaluation = run(monkeypatch, tmp_path, subset="all")
    assert [(case.name, case.subset) for case in evaluation.cases] == [
        ("case1", "train"),
        ("case2", "test"),
        ("case3", "test"),
    ]
    assert any("Training cases" in note for note in metrics_of(tmp_path)["notes"])
    assert "Training cases" in text_table(evaluation)


def test_without_spacing_everything_says_voxels(monkeypatch, tmp_path: Path) -> None:
    data_set = memory_data_set(TRUTHS, SHOWN, unknown_spacing=tuple(TRUTHS))
    install(monkeypatch, evaluated_model(SPLIT), data_set)
    evaluation = evaluate(Path("model.onnx"), Path("data"), output=tmp_path)
    assert metrics_of(tmp_path)["units"] == {"hd95": "voxels", "nsd_tolerance": "2 voxels"}
    assert "hd95_voxels" in (tmp_path / "cases.csv").read_text()
    assert "HD95 (voxels)" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "HD95 (voxels)" in text_table(evaluation)


def test_lengths_in_two_units_are_not_averaged(monkeypatch, tmp_path: Path) -> None:
    install(monkeypatch, evaluated_model(SPLIT), memory_data_set(TRUTHS, SHOWN, unknown_spacing=("case3",)))
    evaluation = evaluate(Path("model.onnx"), Path("data"), output=tmp_path)
    assert [case.name for case in evaluation.cases] == ["case2"]
    assert "lengths are in voxels, those of case2 in mm" in evaluation.unscored["case3"]


class Unreadable(FileFormatError):
    pass


def test_a_bad_case_is_named_and_the_rest_is_scored(monkeypatch, tmp_path: Path) -> None:
    data_set = memory_data_set(TRUTHS, SHOWN)
    read = type(data_set).read_labels

    def read_labels(self, case):
        if case.name == "case2":
            raise Unreadable("case2.nii.gz: missing: the mask of case case2; add it or remove the case")
        return read(self, case)

    monkeypatch.setattr(type(data_set), "read_labels", read_labels)
    install(monkeypatch, evaluated_model(SPLIT), data_set)
    evaluation = evaluate(Path("model.onnx"), Path("data"), output=tmp_path)
    assert [case.name for case in evaluation.cases] == ["case3"]
    assert list(evaluation.unscored) == ["case2"]
    metrics = metrics_of(tmp_path)
    assert metrics["unscored"] == dict(evaluation.unscored)
    assert metrics["counts"]["cases"] == 1
    for text in (text_table(evaluation), (tmp_path / "report.html").read_text(encoding="utf-8")):
        assert "Not scored: case2: case2.nii.gz: missing" in text


def test_where_no_case_can_be_scored_the_first_reason_is_given(monkeypatch, tmp_path: Path) -> None:
    data_set = memory_data_set(TRUTHS, SHOWN)

    def read_volume(self, case):
        raise Unreadable(f"{case.name}: truncated")

    monkeypatch.setattr(type(data_set), "read_volume", read_volume)
    install(monkeypatch, evaluated_model(SPLIT), data_set)
    with pytest.raises(DataSetError, match="none of 2 cases can be scored; case2: case2: truncated"):
        evaluate(Path("model.onnx"), Path("data"), output=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_data_set_without_any_labelled_voxel_still_gets_valid_files(monkeypatch, tmp_path: Path) -> None:
    install(monkeypatch, evaluated_model(), memory_data_set({"case1": box_mask()}))
    evaluate(Path("model.onnx"), Path("data"), output=tmp_path)
    metrics = metrics_of(tmp_path)
    assert metrics["mean"] == {"dice": None, "jaccard": None, "hd95": None, "nsd": None, "nsd_by_area": None}
    assert metrics["counts"]["excluded"] == 3


def test_the_transunet_protocol_rewards_false_positives_as_published(monkeypatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path, protocol="transunet")
    metrics = metrics_of(tmp_path)
    assert metrics["cases"]["case3"]["organs"]["left <kidney>"]["dice"] == 1
    assert metrics["cases"]["case2"]["organs"]["spleen"]["dice"] == 0
    assert metrics["units"]["hd95"] == "voxels"


def test_the_same_input_gives_the_same_digest_and_another_another(monkeypatch, tmp_path: Path) -> None:
    first = run(monkeypatch, tmp_path / "a").provenance.data["sha256"]
    assert run(monkeypatch, tmp_path / "b").provenance.data["sha256"] == first
    changed = {**TRUTHS, "case2": np.roll(TRUTHS["case2"], 1, axis=1)}
    install(monkeypatch, evaluated_model(SPLIT), memory_data_set(changed, SHOWN))
    other = evaluate(Path("model.onnx"), Path("data"), output=tmp_path / "c").provenance.data["sha256"]
    assert other != first
