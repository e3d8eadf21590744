"""The published commands: each flag is understood, each network name maps to ours, training and testing run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import published
import pytest
import torch

from embedded_vit.compression.steps.prune_weights import prunable_weights
from embedded_vit.datasets import open_data_set
from embedded_vit.engines import load
from embedded_vit.errors import ConfigError, DataSetError
from embedded_vit.models.reference_checkpoint import to_reference
from embedded_vit.models.registry import NETWORKS, build_network, network_config
from embedded_vit.training.checkpoint import load_checkpoint

PAPER = Path(__file__).resolve().parents[2] / "paper"
MODULE = "networks.Embedded-ViT_64_grouping.EmbeddedViT"
QUIET_THREADS = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def run(script: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a script from its folder, as the published README says."""
    command = [sys.executable, script, *map(str, words)]
    return subprocess.run(command, cwd=PAPER, env=QUIET_THREADS, capture_output=True, text=True, check=False)


def train_words(data: Path, output: Path) -> list[object]:
    """The published README's training command, with the data and the output where the test has them."""
    paths = ["--root_path", data / "train_npz", "--test_path", data / "test_vol_h5", "--output_dir", output]
    return [*paths, *f"--batch_size 10 --eval_interval 1 --max_epochs 1 --module {MODULE} --img_size 64".split()]


@pytest.fixture(scope="module")
def output(synapse_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training by the published command."""
    folder = tmp_path_factory.mktemp("paper") / "model_out"
    done = run("train.py", *train_words(synapse_folder, folder))
    assert done.returncode == 0, done.stderr
    assert "--eval_interval has no effect" in done.stderr
    return folder


def test_training_follows_the_published_recipe(output: Path) -> None:
    checkpoint = load_checkpoint(output / "embedded-vit-64")
    training = checkpoint.config.training
    assert (training.recipe, training.epochs, training.batch_size, training.seed) == ("paper", 1, 10, 1234)
    assert training.learning_rate == pytest.approx(0.05 * 10 / 24)
    assert (checkpoint.config.network.name, checkpoint.config.network.mixing) == ("embedded-vit-64", "depthwise")
    split = checkpoint.record.split
    assert split.train == ("case0001", "case0002", "case0003", "case0004")
    assert (split.validation, split.test) == ((), ("case0005", "case0006"))


def test_testing_scores_the_test_volumes_and_saves_masks(output: Path, synapse_folder: Path) -> None:
    done = run("test.py", "--volume_path", synapse_folder, "--output_dir", output, "--is_savenii", "--tag", "x")
    assert done.returncode == 0, done.stderr
    assert "--tag has no effect" in done.stderr
    after_training, again = (
        json.loads((output / "embedded-vit-64" / name / "metrics.json").read_text()) for name in ("test", "test-2")
    )
    assert sorted(again["cases"]) == ["case0005", "case0006"]
    assert again["protocol"]["name"] == "transunet"
    assert again["mean"] == after_training["mean"]
    assert len(list((output / "predictions").glob("case000[56]_*.nii.gz"))) == 6


def test_half_precision_tests_published_weights(synapse_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network(network_config("embedded-vit-64", classes=9))
    torch.save(to_reference(network, stages=2), tmp_path / "synapse_epoch_0.pth")
    done = run("test_half.py", "--volume_path", synapse_folder, "--output_dir", tmp_path, "--max_epochs", 1)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert sorted(metrics["cases"]) == ["case0005", "case0006"]
    assert any("half precision" in note for note in metrics["notes"])
    assert load_checkpoint(tmp_path / "synapse_epoch_0").config.network.name == "embedded-vit-64"


def test_pruning_zeroes_weights_by_the_recipe_and_exports(output: Path, synapse_folder: Path, tmp_path: Path) -> None:
    recipe = (PAPER / "prun.yaml").read_text()
    for phase, epochs in (("stabilization", 0), ("pruning", 1), ("finetuning", 1)):
        recipe = re.sub(rf"^{phase}_epochs: .*$", f"{phase}_epochs: {epochs}", recipe, flags=re.MULTILINE)
    (tmp_path / "prun.yaml").write_text(recipe)
    begin_with = ["--input_model", output / "embedded-vit-64", "--recipe", tmp_path / "prun.yaml"]
    done = run("train_prun_64.py", *train_words(synapse_folder, tmp_path / "out"), *begin_with)
    assert done.returncode == 0, done.stderr
    pruned = tmp_path / "out" / "embedded-vit-64-pruned"
    weights = prunable_weights(load_checkpoint(pruned).network)
    spared = [name for name, weight in weights.items() if weight.all()]
    assert spared == [
        f"decoder.0.blocks.1.feed_forward{place}.{layer}.weight" for place in "12" for layer in ("fc1", "fc2")
    ]
    zeros = sum(int((weight == 0).sum()) for weight in weights.values())
    pruned_weights = sum(weight.numel() for name, weight in weights.items() if name not in spared)
    assert zeros / pruned_weights == pytest.approx(0.5, abs=1e-4)
    assert "decoder_1.last_layer.weight: 0." in done.stdout
    assert load(pruned / "model.onnx").manifest.name.endswith("embedded-vit-64-pruned")
    assert (pruned / "test" / "metrics.json").is_file()
    assert not list(pruned.glob("cache*"))


def test_a_wrong_recipe_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "prun.yaml").write_text("pruning_modifiers: [!MagnitudePruningModifier {start_epoch: 0}]")
    words = ["--module", MODULE, "--recipe", tmp_path / "prun.yaml", "--output_dir", tmp_path / "out"]
    done = run("train_prun_64.py", *words)
    assert done.returncode == 2
    assert "did you mean 'GlobalMagnitudePruningModifier'?" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("script", "words", "expected"),
    [
        ("train_half.py", ["--module", "networks.Embedded-ViT_64.EmbedViT"], "did you mean 'networks.Embedded-ViT_64."),
        ("train.py", ["--module", MODULE, "--img_size", "224"], "give --img_size 64"),
        ("train.py", ["--module", MODULE, "--rate", "1"], "unrecognized arguments: --rate"),
    ],
)
def test_a_mistake_gets_one_line_and_nothing_is_left(
    script: str, words: list[str], expected: str, tmp_path: Path
) -> None:
    done = run(script, *words, "--output_dir", tmp_path / "out")
    assert done.returncode == 2
    assert expected in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("out/*"))


def test_every_preset_has_a_published_name() -> None:
    assert set(published.NETWORKS.values()) == set(NETWORKS)
    assert published.network_name("networks.Embedded-ViT_128.EmbeddedViT") == "embedded-vit-128-dense"
    assert published.network_name("networks.Embedded-ViT_128_grouping.EmbeddedViT") == "embedded-vit-128"


def test_an_unknown_network_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'networks.DAEFormer.DAEFormer'"):
        published.network_name("networks.DAEFormer.DAEFormr")


@pytest.mark.parametrize(
    "words",
    [
        "--max_iterations 9 --num_workers 0 --eval_interval 20 --model_name m --n_gpu 2 --deterministic 1",
        "--zip --cache-mode full --resume x --accumulation-steps 2 --use-checkpoint --amp-opt-level O2 --tag t",
        "--dataset Synapse --list_dir l --num_classes 9 --base_lr 0.1 --img_size 64 --seed 1 --input_model m",
        "--eval --throughput --z_spacing 1",
    ],
)
def test_every_published_training_flag_is_understood(words: str) -> None:
    for parser in (published.training_parser(batch_size=10), published.pruning_parser()):
        published.parse(parser, ["--module", MODULE, *words.split()])


def test_every_published_test_flag_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "--volume_path v --dataset Synapse --num_classes 9 --list_dir l --output_dir o --max_iterations 1 "
        "--max_epochs 2 --batch_size 24 --img_size 64 --is_savenii --test_save_dir p --deterministic 1 "
        "--opts A B --zip --cache-mode no --resume r --accumulation-steps 1 --use-checkpoint --amp-opt-level O0 "
        "--tag t --eval --throughput --base_lr 0.05 --seed 1"
    )
    published.parse(published.testing_parser(), words.split())
    assert capsys.readouterr().err.count("has no effect") == 17


def test_a_flag_left_at_its_default_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    published.parse(published.training_parser(batch_size=10), ["--module", MODULE])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("batch_size", "expected"), [(24, 0.05), (10, 0.05 * 10 / 24), (12, 0.05)])
def test_the_learning_rate_follows_the_published_rule(batch_size: int, expected: float) -> None:
    assert published.learning_rate(0.05, batch_size) == pytest.approx(expected)


def test_a_given_list_decides_which_volumes_test(synapse_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "test_vol.txt").write_text("case0006\n")
    volumes = synapse_folder / "test_vol_h5"
    published.link_data(tmp_path / "Synapse", train=None, test=volumes, lists=tmp_path / "lists")
    assert [case.name for case in open_data_set(tmp_path / "Synapse").cases] == ["case0006"]
    with pytest.raises(DataSetError, match="nowhere: no such folder"):
        published.link_data(tmp_path / "other", train=tmp_path / "nowhere", test=volumes, lists=None)
    with pytest.raises(DataSetError, match="--list_dir"):
        published.link_data(tmp_path / "other", train=None, test=volumes, lists=tmp_path / "nowhere")


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run-2").mkdir()
    assert published.fresh_folder(tmp_path / "run") == tmp_path / "run-3"
