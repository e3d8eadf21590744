"""A built-in model's name on the command line and in Python, and the verb that lists them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from artifact_fixtures import RunVerb

import embedded_vit
from embedded_vit.contract import SpacingRange
from embedded_vit.labels import LabelSet
from embedded_vit.preprocessing import Preprocessing

AddBuiltin = Callable[..., Path]
STRUCTURES = LabelSet.from_names(["bright"])


@pytest.fixture
def run(run_verb: RunVerb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Run a command in an empty working folder; return its output or its error."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def command(*words: object) -> str:
        status, output, errors = run_verb(*words)
        return errors if status else output

    return command


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A NIfTI CT in HU with a bright box."""
    hounsfield = np.full((40, 40, 5), -1000, np.int16)
    hounsfield[10:20, 10:20, 1:4] = 400
    nibabel.save(nibabel.Nifti1Image(hounsfield, np.diag([2.0, 2.0, 3.0, 1.0])), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_predict_takes_a_name(add_builtin: AddBuiltin, run: Callable[..., str], scan: Path) -> None:
    add_builtin("bright-ct")
    run("predict", "bright-ct", scan, "-o", "mask.nii.gz")
    assert np.asanyarray(nibabel.load("mask.nii.gz").dataobj)[12:18, 12:18, 2].all()
    assert json.loads(Path("mask.json").read_text())["volumes"]["bright"] > 0


def test_load_takes_a_name(add_builtin: AddBuiltin, scan: Path, tmp_path: Path) -> None:
    path = add_builtin("bright-ct")
    mask = embedded_vit.load("bright-ct", threads=1).predict(scan).mask
    np.testing.assert_array_equal(mask.array, embedded_vit.load(path, threads=1).predict(scan).mask.array)
    assert mask.array.any()


@pytest.mark.parametrize(
    ("verb", "called", "words"),
    [
        ("benchmark", "embedded_vit.benchmark.run.benchmark", ["bright-ct", "other.onnx"]),
        ("evaluate", "embedded_vit.evaluation.evaluating.evaluate", ["bright-ct", "--data", "data", "-o", "results"]),
    ],
)
def test_other_verbs_take_a_name(
    add_builtin: AddBuiltin,
    run: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    called: str,
    words: list[str],
) -> None:
    path, given = add_builtin("bright-ct"), []

    def measure(models: object, *_: object, **__: object) -> None:
        given.append(models)
        raise embedded_vit.errors.ConfigError("enough")

    monkeypatch.setattr(called, measure)
    assert "enough" in run(verb, *words)
    assert given == [[path, Path("other.onnx")] if verb == "benchmark" else path]


@pytest.mark.usefixtures("builtin_folder")
def test_without_models_one_line_says_so(run: Callable[..., str]) -> None:
    for words in (["models"], ["models", "--latency"]):
        printed = run(*words)
        assert printed.startswith("no built-in models")
        assert len(printed.splitlines()) == 1
    assert "none comes with this version" in run("models", "abdomen-ct")


def test_models_lists_one_row_each(add_builtin: AddBuiltin, run: Callable[..., str]) -> None:
    small = add_builtin("bright-ct")
    add_builtin("bright-ct-int8", precision="int8")
    printed = run("models")
    header, first, second, *rest = printed.splitlines()
    megabytes = f"{small.stat().st_size / 1e6:.2f}"
    for column, cell in {"pixels": "32", "precision": "fp32", "MB": megabytes, "Dice": "0.625"}.items():
        assert first[header.index(column) :].split()[0] == cell
    assert first[header.index("worst organ") :].startswith("dim 0.50")
    assert first.endswith("CC BY 4.0")
    assert second.startswith("bright-ct-int8")
    assert " int8 " in second
    assert "Research use only" in rest[-1]
    assert "ms here" not in printed


def test_latency_is_measured_when_asked(add_builtin: AddBuiltin, run: Callable[..., str]) -> None:
    add_builtin("bright-ct")
    header, row, *rest = run("models", "--latency", "--threads", 1).splitlines()
    assert float(row[header.index("ms here") :]) >= 0
    assert "threads: 1" in " ".join(rest)
    assert "ms per image (ONNX Runtime, threads: 1" in run("models", "bright-ct", "--latency", "--threads", 1)


def test_a_card_says_what_a_user_must_know(add_builtin: AddBuiltin, run: Callable[..., str]) -> None:
    spacing = SpacingRange(slices_mm=(1.5, 7.5), in_plane_mm=(0.4, 3.1))
    split = {"train": ("0" * 64, "1" * 64), "validation": (), "test": ()}
    add_builtin("bright-ct", spacing_range=spacing, split=split)
    card = run("models", "bright-ct")
    for words in (
        "# bright-ct",
        "embedded-vit predict bright-ct",
        "The numbers in the mask: 1 bright.",
        "CT in HU, in any orientation. Slices 1.5 to 7.5 mm apart, pixels of 0.4 to 3.1 mm",
        "all 2 patients",
        "Mean Dice 0.625 (95 % interval 0.500 to 0.750)",
        "HD95 7.5 voxels, over 4 patients",
        "Worst organ: dim, 0.500. Worst patient: case0021, 0.250",
        "| dim       | 0.500 | 3        | 1      | 0              |",
        "| absent    | -     | 0        | 0      | 0              |",
        "- Dark things are never found.",
        "- case0021, dim: missed.",
        "CC BY 4.0 (https://licence)",
        "Nobody, 2026",
        "python -m factory.builtin_models bright-ct --data DATA",
        "fp32, seed 7, in these steps:\n\n1. tiny: 3 epochs\n\nThey took 12 minutes in all on an abacus",
        "Research use only",
    ):
        assert words in card


def test_a_card_says_what_becomes_of_thin_slices(add_builtin: AddBuiltin, run: Callable[..., str]) -> None:
    spacing = SpacingRange(slices_mm=(1.5, 7.5), in_plane_mm=(0.4, 3.1))
    thin = Preprocessing.for_modality("CT", image_size=16, context_mm=3.0)
    add_builtin("bright-ct", spacing_range=spacing, preprocessing=thin)
    assert "Slices 1.5 to 7.5 mm apart (in thinner ones the network sees neighbours about 3 mm apart)" in run(
        "models", "bright-ct"
    )


def test_figures_of_other_weights_are_refused(
    add_builtin: AddBuiltin, builtin_folder: Path, run: Callable[..., str]
) -> None:
    add_builtin("bright-ct")
    facts = builtin_folder / "bright-ct.json"
    facts.write_text(facts.read_text().replace('"graph_sha256":"', '"graph_sha256":"0'))
    assert "its figures are of other weights" in run("models")
    facts.unlink()
    assert "bright-ct.json: missing" in run("models")


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"name": "embedded-vit-64", "kept_channels": {}}, "Network: embedded-vit-64."),
        (
            {"name": "custom", "widths": [8, 16], "convolution_widths": [4, 8], "kept_channels": {"encoder.0": 8}},
            "Network: widths 8 and 16, convolutions of 4 and 8 channels, pruned.",
        ),
        (
            {"name": "custom", "family": "hybrid", "widths": [8, 16, 24, 32]},
            "Network: hybrid, widths 8, 16, 24 and 32.",
        ),
        ({"name": "custom", "model": "somebody:Own"}, "Network: custom."),
    ],
)
def test_the_card_says_what_network_it_is(
    run: Callable[..., str], add_builtin: AddBuiltin, network: dict[str, object], words: str
) -> None:
    add_builtin("bright-ct", network=network)
    assert words in run("models", "bright-ct")
