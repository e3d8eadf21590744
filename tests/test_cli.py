"""The command line: one line and a status for everything that is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import pytest

from embedded_vit.about import __version__
from embedded_vit.cli.application import GROUPS, application


def embedded_vit(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run the installed command, which does not have the current folder on its path."""
    command = Path(sys.executable).with_name("embedded-vit")
    return subprocess.run([command, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["info", "--network", "embedded-vit-46"], "did you mean 'embedded-vit-64'"),
        (["info", "--network", "embedded-vit-64", "--image-size", "100"], "96 or 104"),
        (["info", "--netwrok", "embedded-vit-64"], "--network"),
        (["info"], "--network NAME"),
        (["info", "no/such/run"], "not a run"),
        (["train"], "--data"),
        (["train", "--data", "/no/such/folder", "--output", "x", "--network", "embedded-vit-64"], "no such folder"),
        (["train", "--data", ".", "--output", "x", "--network", "embedded-vit-64", "--epochs", "0"], "epochs"),
    ],
)
def test_bad_input_gets_one_line_and_status_two(arguments, named):
    result = embedded_vit(*arguments)
    assert result.returncode == 2
    assert named in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "status", "named"),
    [
        ([], 2, "expected the name of a built-in plan (embedded-cpu, int8,"),
        (["--plan", "intate"], 2, "the built-in plans are embedded-cpu, int8,"),
        (["--plan", "int8", "--recipe", "int8"], 2, "give --plan only"),
        (["--plan", "int8"], 2, "no/such/run"),
    ],
)
def test_compress_takes_a_plan_by_name(options, status, named):
    result = embedded_vit("compress", "no/such/run", "-o", "x", *options)
    assert result.returncode == status
    assert named in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_recipe_is_the_old_name_of_plan():
    result = embedded_vit("compress", "no/such/run", "-o", "x", "--recipe", "int8")
    assert result.stderr.splitlines()[0] == "embedded-vit: --recipe is deprecated; use --plan"
    assert "no/such/run" in result.stderr.splitlines()[1]
    assert "--recipe" not in embedded_vit("compress", "--help").stdout


def test_info_shows_what_folding_and_dropping_save():
    result = embedded_vit("info", "--network", "embedded-vit-64")
    for figure in ("330,169", "1,314,161", "74.9 % dead", "44,969,984", "60,461,056", "25.6 % saved"):
        assert figure in result.stdout


def test_an_architecture_describes_a_network_as_well_as_a_name():
    result = embedded_vit("info", "--image-size", 224, "--widths", 32, 80, "--depth", 1)
    assert "custom: 1 x 224 x 224" in result.stdout


def test_help_names_every_verb_and_the_limits_of_use():
    result = embedded_vit("--help")
    for word in ("train", "predict", "evaluate", "export", "data", "phantom", "info", "Research use only"):
        assert word in result.stdout


def test_help_groups_the_verbs_by_reader():
    lines = embedded_vit("--help").stdout
    places = [lines.index(f"─ {reader} ─") for reader in GROUPS]
    assert places == sorted(places)
    for reader, following in zip(GROUPS, [*list(GROUPS)[1:], "General"], strict=True):
        section = lines[lines.index(f"─ {reader} ─") : lines.index(f"─ {following} ─")]
        assert [verb for verb in GROUPS[reader] if f"│ {verb} " in section] == list(GROUPS[reader])


def test_version_is_the_packages():
    assert embedded_vit("--version").stdout.strip() == __version__


@pytest.mark.parametrize("verb", [verb for verbs in GROUPS.values() for verb in verbs])
def test_every_option_is_described_in_a_full_phrase_and_o_means_output(verb):
    app = application()[verb]
    assert app.help.splitlines()[0].endswith(".")
    for argument in app.assemble_argument_collection(parse_docstring=True):
        text = argument.parameter.help or ""
        if argument.show:
            assert len(text.split()) >= 3, argument.name
            assert text[0].isupper(), argument.name
            assert text.endswith("."), argument.name
        if "--output" in argument.names:
            assert "-o" in argument.names


def test_a_users_own_network_goes_all_the_way_to_a_mask(synapse_folder, decathlon_folder, tmp_path):
    (tmp_path / "own.py").write_text(
        "from torch import nn\n\n\n"
        "class Network(nn.Sequential):\n"
        "    def __init__(self, in_channels, classes, image_size):\n"
        "        super().__init__(nn.Conv2d(in_channels, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, classes, 1))\n"
    )
    scan = sorted((decathlon_folder / "imagesTr").iterdir())[0]
    for arguments in (
        ["train", "--data", synapse_folder, "--model", "own:Network", "--image-size", 40, "--epochs", 1, "-o", "run"],
        ["evaluate", "run", "--data", synapse_folder, "--output", "results"],
        ["export", "run", "--output", "model.onnx"],
        ["predict", "model.onnx", scan, "--output", "mask.nii.gz"],
    ):
        result = embedded_vit(*arguments, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    assert nibabel.load(tmp_path / "mask.nii.gz").shape == nibabel.load(scan).shape
