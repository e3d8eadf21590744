"""The command line: one line and a status for everything that is wrong."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import pytest
from artifact_fixtures import RunVerb

from embedded_vit.about import __version__
from embedded_vit.cli.application import EXTRA_OF_LIBRARY, GROUPS, application, main

REPOSITORY = Path(__file__).resolve().parents[1]


def embedded_vit(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run the installed command, which does not have the current folder on its path."""
    command = Path(sys.executable).with_name("embedded-vit")
    return subprocess.run([command, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["info", "--network", "embedded-vit-46"], "did you mean 'embedded-vit-64'"),
        (["info", "--network", "embedded-vit-64", "--image-size", "100"], "96 or 104"),
        (["info", "--image-size", "32", "--widths", "1000000000000", "8"], "at most 8,192"),
        (["info", "--image-size", "1000000000000", "--widths", "8", "16"], "at most 8,192"),
        (["info", "--netwrok", "embedded-vit-64"], "--network"),
        (["info"], "--network NAME"),
        (["info", "no/such/run"], "not a run"),
        (["predict", "abdomen-ct", "no/such/scan.nii.gz", "-o", "x.nii.gz"], "no/such/scan.nii.gz"),
        (["phantom", "/dev/null", "--cases", "2"], "/dev/null"),
        (["train"], "--data"),
        (["train", "--data", "/no/such/folder", "--output", "x", "--network", "embedded-vit-64"], "no such folder"),
        (["train", "--data", ".", "--output", "x", "--network", "embedded-vit-64", "--epochs", "0"], "epochs"),
    ],
)
def test_bad_input_gets_one_line_and_status_two(arguments, named, run_verb):
    status, _, told = run_verb(*arguments)
    assert status == 2
    assert named in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("words", [["info", "no/such/run"], ["train", "--data", "no/such/run", "-o", "x"]])
def test_the_installed_command_says_one_line_too(words):
    """Alone in its process, where the libraries that it imports might say something themselves."""
    result = embedded_vit(*words)
    assert result.returncode == 2
    assert "no/such/run" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_matplotlib_says_nothing_in_front_of_an_error(monkeypatch, capsys):
    logger = logging.getLogger("matplotlib.font_manager")
    monkeypatch.setattr(sys, "argv", ["embedded-vit", "no-such-verb"])
    before = logger.level
    try:
        with pytest.raises(SystemExit):
            main()
        assert not logger.isEnabledFor(logging.WARNING)  # that it builds its font cache, on a slow computer
    finally:
        logger.setLevel(before)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_library_that_cannot_be_loaded_is_one_line_and_a_fault_of_ours_is_not(monkeypatch, capsys):
    def fails_with(error: ImportError) -> None:
        def call(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("embedded_vit.cli.application.application", lambda **_: call)

    monkeypatch.setattr(sys, "argv", ["embedded-vit", "models"])
    fails_with(ImportError("libtorch.so: failed to map segment\nfrom shared object", name="torch._C"))
    with pytest.raises(SystemExit) as exited:
        main()
    assert exited.value.code == 2
    told = capsys.readouterr().err
    assert "a library cannot be loaded: libtorch.so: failed to map segment from shared object; allow more" in told
    assert told.count("\n") == 1
    fails_with(ImportError("cannot import name 'x'", name="embedded_vit.volume"))
    with pytest.raises(ImportError, match="cannot import name"):
        main()


@pytest.mark.parametrize(
    ("options", "status", "named"),
    [
        ([], 2, "expected the name of a built-in plan (embedded-cpu, int8,"),
        (["--plan", "intate"], 2, "the built-in plans are embedded-cpu, int8,"),
        (["--plan", "int8", "--recipe", "int8"], 2, "give --plan only"),
        (["--plan", "int8"], 2, "no/such/run"),
    ],
)
def test_compress_takes_a_plan_by_name(options, status, named, run_verb):
    ended, _, told = run_verb("compress", "no/such/run", "-o", "x", *options)
    assert ended == status
    assert named in told
    assert len(told.splitlines()) == 1


def test_recipe_is_the_old_name_of_plan(run_verb):
    told = run_verb("compress", "no/such/run", "-o", "x", "--recipe", "int8")[2].splitlines()
    assert told[0] == "embedded-vit: --recipe is deprecated; use --plan"
    assert "no/such/run" in told[1]
    assert "--recipe" not in run_verb("compress", "--help")[1]


def test_info_shows_what_folding_and_dropping_save(run_verb):
    shown = run_verb("info", "--network", "embedded-vit-64")[1]
    for figure in ("330,169", "1,314,161", "74.9 % dead", "44,969,984", "60,461,056", "25.6 % saved"):
        assert figure in shown


def test_an_architecture_describes_a_network_as_well_as_a_name(run_verb):
    assert "custom: 1 x 224 x 224" in run_verb("info", "--image-size", 224, "--widths", 32, 80, "--depth", 1)[1]


def test_info_says_whether_a_network_has_attention(run_verb):
    assert "depth 2, hidden ratio 2, stem stride 2" in run_verb("info", "--network", "hybrid-s")[1]
    assert "no token blocks, stem stride 2" in run_verb("info", "--network", "conv-s")[1]


@pytest.mark.parametrize(
    ("options", "network"),
    [
        ([], "conv-s"),
        (["--image-size", "96"], "conv-s"),
        (["--network", "unet-16"], "unet-16"),
        (["--widths", "32", "80", "--image-size", "64"], None),
        (["--model", "mine:Net", "--image-size", "64"], None),
        (["--init", "run"], None),
    ],
)
def test_train_takes_the_fast_family_where_no_network_is_named(options, network, monkeypatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr("embedded_vit.training.training.train", lambda *_, **given: asked.append(given))
    with pytest.raises(SystemExit) as ended:
        application()(["train", "--data", "data", "--output", "run", *options])
    assert ended.value.code in (0, None)
    assert [given["network"] for given in asked] == [network]


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


def test_a_users_own_network_goes_all_the_way_to_a_mask(
    synapse_folder, decathlon_folder, tmp_path, monkeypatch, run_verb
):
    (tmp_path / "own.py").write_text(
        "from torch import nn\n\n\n"
        "class Network(nn.Sequential):\n"
        "    def __init__(self, in_channels, classes, image_size):\n"
        "        super().__init__(nn.Conv2d(in_channels, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, classes, 1))\n"
    )
    scan = sorted((decathlon_folder / "imagesTr").iterdir())[0]
    described = ["--model", "own:Network", "--image-size", 40, "--epochs", 1]
    trained = embedded_vit("train", "--data", synapse_folder, *described, "-o", "run", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["evaluate", "run", "--data", synapse_folder, "--output", "results"],
        ["export", "run", "--output", "model.onnx"],
        ["predict", "model.onnx", scan, "--output", "mask.nii.gz"],
    ):
        status, _, told = run_verb(*arguments)
        assert status == 0, told
    assert nibabel.load(tmp_path / "mask.nii.gz").shape == nibabel.load(scan).shape


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "--device gpu: expected cpu, cuda, cuda:N or mps"),
        ("cpu:0", "expected cpu, cuda, cuda:N or mps"),
        ("cuda:one", "expected cpu, cuda, cuda:N or mps"),
        ("cuda:99", "--device cuda:99: "),
    ],
)
def test_a_device_that_is_not_there_is_one_line_before_any_work(
    device: str, message: str, tmp_path: Path, run_verb: RunVerb
) -> None:
    for words in (
        ("train", "--data", tmp_path / "none", "--output", tmp_path / "run"),
        ("compress", tmp_path / "none", "--plan", "quick", "--output", tmp_path / "small"),
        ("search", "--data", tmp_path / "none", "--budget", "macs=1e8", "--output", tmp_path / "search"),
    ):
        status, _, told = run_verb(*words, "--device", device)
        assert status == 2, told
        assert message in told
        assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_gpu_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from embedded_vit.errors import ConfigError
    from embedded_vit.training.processes import check_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    check_device("cpu")
    with pytest.raises(ConfigError, match="--device cuda: PyTorch finds no CUDA GPU here; use --device cpu"):
        check_device("cuda")
    with pytest.raises(ConfigError, match="--device mps: PyTorch finds no Apple GPU"):
        check_device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_device("cuda:1")
    with pytest.raises(ConfigError, match="there are only the GPUs 0 to 1"):
        check_device("cuda:2")


def test_info_of_a_model_file_is_a_short_table_with_its_cost(
    make_artifact: Callable[..., Path], run_verb: RunVerb
) -> None:
    artifact_path = make_artifact()
    status, shown, told = run_verb("info", artifact_path)
    assert status == 0, told
    lines = shown.splitlines()
    assert len(lines) <= 15
    assert max(map(len, lines)) < 160
    for word in ("scan", "spacing", "structures", "MACs", "file", "Research use only"):
        assert word in shown
    manifest = json.loads(run_verb("info", artifact_path, "--json")[1])
    assert lines[0] == manifest["name"]
    assert manifest["graph_sha256"].startswith(next(line.split()[1] for line in lines if line.startswith("  graph")))


def test_every_extra_that_a_message_advises_is_one() -> None:
    """The advice installs into a package that is there already, also from a checkout."""
    section = (REPOSITORY / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
    project = re.findall(r"^(\w+) = \[", section, flags=re.MULTILINE)
    calls = [
        call
        for path in (REPOSITORY / "src").rglob("*.py")
        for call in re.findall(r"missing_extra\(.*?, '(\w+)'\)", path.read_text())
    ]
    assert {"h5", "dicom"} <= set(calls)
    assert {*calls, *EXTRA_OF_LIBRARY.values(), "train", "openvino", "litert"} <= set(project)
