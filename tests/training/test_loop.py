"""The training loop: it learns, it resumes bit by bit, it stops where it must."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from embedded_vit import postprocessing
from embedded_vit.errors import CheckpointError, ConfigError, NetworkError, OutputError, TrainingError
from embedded_vit.models.channels import keep_channels
from embedded_vit.models.registry import build_network
from embedded_vit.training import slices
from embedded_vit.training.checkpoint import load_checkpoint, load_state, read_run_config, save_checkpoint, save_state
from embedded_vit.training.loop import Trainer, dice_by_case
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.training import train

EPOCHS = 30
TINY = {"architecture": {"image_size": 32, "widths": (8, 16)}, "threads": 1}
OPTIONS = "--image-size 32 --widths 8 16 --batch-size 8 --threads 1 --validation-cases 1"
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


def settings(recipe: str = "modern", **given) -> TrainingConfig:
    return TrainingConfig.for_recipe(recipe, **{"batch_size": 8, "epochs": 2, **given})


def words(data: Path, output: Path, *more: str) -> list[str]:
    return ["train", "--data", str(data), "--output", str(output), *OPTIONS.split(), *more]


def same_weights(one: Path, other: Path) -> bool:
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def run(synapse_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    train(synapse_folder, folder, training=settings(epochs=EPOCHS, learning_rate=5e-3), validation_cases=1, **TINY)
    return folder


def test_training_lowers_the_loss_and_finds_structures(run):
    rows = load_checkpoint(run).record.epochs
    assert rows[-1].loss < 0.8 * rows[0].loss
    assert max(row.validation_dice for row in rows) > 0.03


def test_a_run_leaves_log_curves_previews_and_tensorboard(run):
    assert len((run / "log.csv").read_text().splitlines()) == EPOCHS + 1
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((run / "previews").glob("epoch-*.png"))) == EPOCHS
    assert list((run / "tensorboard").iterdir())
    assert not (run / "cache").exists()


def test_trainings_may_share_their_prepared_slices(synapse_folder, tmp_path, monkeypatch):
    shared = {"slices_folder": tmp_path / "slices", "training": settings(epochs=1), "validation_cases": 1, **TINY}
    train(synapse_folder, tmp_path / "first", **shared)
    monkeypatch.setattr(slices, "_write", None)  # nothing is prepared again
    train(synapse_folder, tmp_path / "second", **shared)
    assert same_weights(tmp_path / "first", tmp_path / "second")


def test_the_epoch_with_the_best_validation_is_kept(run):
    record = load_checkpoint(run).record
    assert record.selected_epoch == max(record.epochs, key=lambda row: row.validation_dice).epoch


def test_test_cases_never_train_nor_select(run):
    split = load_checkpoint(run).record.split
    assert split.test == ("case0005", "case0006")
    assert not set(split.test) & set(split.train + split.validation)
    assert len(split.validation) == 1


def test_a_loaded_checkpoint_computes_and_can_be_saved_again(run, tmp_path):
    checkpoint = load_checkpoint(run)
    save_checkpoint(tmp_path / "copy", checkpoint.network.state_dict(), checkpoint.config, checkpoint.record)
    copy = load_checkpoint(tmp_path / "copy")
    image = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(checkpoint.network(image), copy.network(image))
    assert copy.record == checkpoint.record


@pytest.mark.parametrize(
    "options",
    [
        ["--recipe", "paper"],
        ["--recipe", "modern"],
        ["--convolution-widths", "4", "8", "--cutmix", "0.25"],
        ["--deep-supervision"],
    ],
    ids=["paper", "modern", "batch norms", "deep"],
)
def test_killed_and_resumed_equals_uninterrupted(options, synapse_folder, tmp_path, run_verb):
    arguments = [*options, "--epochs", "4"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "embedded_vit", *words(synapse_folder, killed, *arguments)]
    with subprocess.Popen(command, env=ONE_THREAD, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:  # one epoch is whole, the next has begun
            if line.startswith("epoch 2/"):
                break
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert len(load_checkpoint(killed).record.epochs) < 4
    for folder, more in ((killed, ["--resume"]), (whole, [])):
        assert run_verb(*words(synapse_folder, folder, *arguments, *more))[0] == 0
    assert same_weights(killed, whole)
    losses = [[row.loss for row in load_checkpoint(folder).record.epochs] for folder in (killed, whole)]
    assert losses[0] == losses[1]


def test_from_coarse_to_fine(synapse_folder, tmp_path, capsys):
    options = {"validation_cases": 1, **TINY}
    train(synapse_folder, tmp_path / "run", training=settings(coarse_epochs=3), **options)
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("at", "epoch 1/"))]
    assert [line.split(" ·")[0] for line in shown] == ["at 16 pixels:", "epoch 1/3", "at 32 pixels:", "epoch 1/2"]
    coarse = load_checkpoint(tmp_path / "run" / "coarse")
    assert (coarse.config.network.image_size, coarse.config.training.epochs, len(coarse.record.epochs)) == (16, 3, 3)
    by_hand = settings(init=str(tmp_path / "run" / "coarse"))
    train(synapse_folder, tmp_path / "by hand", training=by_hand, **options)
    assert same_weights(tmp_path / "run", tmp_path / "by hand")
    assert load_checkpoint(tmp_path / "run").record.split == coarse.record.split
    assert not list(tmp_path.glob("**/cache"))


@pytest.mark.parametrize("epoch", [2, 5], ids=["at half the size", "afterwards"])
def test_from_coarse_to_fine_killed_and_resumed_equals_uninterrupted(epoch, synapse_folder, tmp_path, monkeypatch):
    options = {"training": settings(coarse_epochs=3, epochs=3), "validation_cases": 1, **TINY}
    train(synapse_folder, tmp_path / "whole", **options)
    train_epoch, calls = Trainer._train_epoch, []

    def killed(self, *arguments):
        calls.append(arguments)
        if len(calls) == epoch:
            raise KeyboardInterrupt
        return train_epoch(self, *arguments)

    with monkeypatch.context() as context:
        context.setattr(Trainer, "_train_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            train(synapse_folder, tmp_path / "killed", **options)
    train(synapse_folder, tmp_path / "killed", resume=True, **options)
    assert same_weights(tmp_path / "killed", tmp_path / "whole")
    assert same_weights(tmp_path / "killed" / "coarse", tmp_path / "whole" / "coarse")


def test_a_size_that_cannot_be_halved_is_refused_before_anything_is_trained(synapse_folder, tmp_path):
    architecture = {"architecture": {"image_size": 24, "widths": (8, 16)}, "threads": 1}
    with pytest.raises(NetworkError, match="12"):
        train(synapse_folder, tmp_path / "run", training=settings(coarse_epochs=1), **architecture)
    assert not (tmp_path / "run").exists()


def test_killed_between_state_and_weights_the_weights_are_written_again(synapse_folder, tmp_path):
    folder, options = tmp_path / "run", {"training": settings(epochs=1), "validation_cases": 0, **TINY}
    train(synapse_folder, folder, **options)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    train(synapse_folder, folder, resume=True, **options)
    assert (folder / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize(("recipe", "found"), [("modern", True), ("paper", False)])
def test_small_components_are_looked_for_by_the_modern_recipe(recipe, found, synapse_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(postprocessing, "LEAST_CASES", 2)
    options = {"training": settings(recipe, epochs=1), "validation_cases": 1, **TINY}
    train(synapse_folder, tmp_path / "run", **options)
    before = read_run_config(tmp_path / "run")
    assert ("liver" in before.postprocessing.smallest_component) == found
    (tmp_path / "run" / "model.safetensors").unlink()
    train(synapse_folder, tmp_path / "run", resume=True, **options)
    assert read_run_config(tmp_path / "run") == before


def test_killed_in_its_first_epoch_a_run_can_begin_again(synapse_folder, tmp_path):
    folder, options = tmp_path / "run", {"training": settings(epochs=1), **TINY}
    train(synapse_folder, folder, **options)
    for name in ("model.safetensors", "state.safetensors"):
        (folder / name).unlink()
    train(synapse_folder, folder, **options)
    assert load_checkpoint(folder).record.selected_epoch == 1


def test_supervision_changes_the_training_and_leaves_nothing_in_the_weights(synapse_folder, tmp_path):
    weights = []
    for deep in (False, True):
        folder = tmp_path / f"deep-{deep}"
        train(synapse_folder, folder, training=settings(epochs=1, deep_supervision=deep), validation_cases=0, **TINY)
        weights.append(load_file(folder / "model.safetensors"))
    assert weights[0].keys() == weights[1].keys()
    assert not torch.equal(*(tensors["encoder.1.norm.weight"] for tensors in weights))


@pytest.mark.parametrize(
    "options",
    [[], ["--convolution-widths", "4", "8", "--deep-supervision"]],
    ids=["tokens", "batch norms, deep"],
)
def test_two_processes_equal_one_at_the_same_global_batch(options, synapse_folder, tmp_path, run_verb):
    arguments = ["--epochs", "2", "--recipe", "paper", *options]
    assert run_verb(*words(synapse_folder, tmp_path / "one", *arguments))[0] == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]  # a free port
    command = [*torchrun, "-m", "embedded_vit", *words(synapse_folder, tmp_path / "two", *arguments)]
    subprocess.run(command, env=ONE_THREAD, check=True, capture_output=True)
    one, two = (load_file(tmp_path / count / "model.safetensors") for count in ("one", "two"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=2e-5)


def test_a_loss_that_is_not_finite_stops_with_epoch_and_cases(synapse_folder, tmp_path):
    with pytest.raises(TrainingError, match=r"epoch 1.*case000"):
        train(synapse_folder, tmp_path / "run", training=settings("paper", learning_rate=1e30), **TINY)


def test_no_validation_keeps_the_last_weights(synapse_folder, tmp_path):
    record = train(synapse_folder, tmp_path / "run", training=settings(), validation_cases=0, **TINY)
    assert record.selected_epoch == 2
    assert record.epochs[-1].validation_dice is None
    assert len(record.split.train) == 4


def test_training_begins_with_the_weights_of_another_run(run, synapse_folder, tmp_path):
    record = train(
        synapse_folder, tmp_path / "more", training=settings(epochs=1, init=str(run), learning_rate=1e-6), **TINY
    )
    assert record.epochs[0].loss < 0.8 * load_checkpoint(run).record.epochs[0].loss


def test_training_goes_on_with_the_channels_that_a_run_was_pruned_to(run, synapse_folder, tmp_path):
    pruned = load_checkpoint(run)
    keep_channels(pruned.network, {"encoder.0.blocks.0.feed_forward1": range(8)})
    widths = {"encoder.0.blocks.0.feed_forward1": 8}
    network = pruned.config.network.model_copy(update={"kept_channels": widths})
    replace(pruned, config=pruned.config.model_copy(update={"network": network})).save(tmp_path / "pruned")
    for resume in (False, True):
        onwards = settings(epochs=1, init=str(tmp_path / "pruned"), learning_rate=1e-6)
        record = train(synapse_folder, tmp_path / "more", training=onwards, resume=resume, **TINY)
    assert read_run_config(tmp_path / "more").network.kept_channels == widths
    assert record.epochs[0].loss < 0.8 * load_checkpoint(run).record.epochs[0].loss


def test_resuming_with_other_settings_is_refused_by_name(run, synapse_folder):
    with pytest.raises(ConfigError, match=r"training\.batch_size: it was 8, now 4"):
        train(
            synapse_folder, run, training=settings(epochs=EPOCHS, learning_rate=5e-3, batch_size=4), resume=True, **TINY
        )


def test_resuming_on_another_split_is_refused(run, synapse_folder):
    with pytest.raises(ConfigError, match="split in another way"):
        train(
            synapse_folder,
            run,
            training=settings(epochs=EPOCHS, learning_rate=5e-3),
            validation_cases=2,
            resume=True,
            **TINY,
        )


def test_a_run_is_never_written_over(run, synapse_folder):
    before = (run / "model.safetensors").read_bytes()
    with pytest.raises(OutputError, match="--resume"):
        train(synapse_folder, run, training=settings(), **TINY)
    assert (run / "model.safetensors").read_bytes() == before


def test_nothing_to_resume_is_said(synapse_folder, tmp_path):
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train(synapse_folder, tmp_path / "none", training=settings(), resume=True, **TINY)


def test_the_state_of_another_version_is_refused(run, synapse_folder, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    tensors, metadata = load_state(run)
    save_state(tmp_path / "run", {**tensors, "optimizer.2.exp_avg": torch.zeros(3)}, metadata)
    with pytest.raises(CheckpointError, match="not of this version"):
        train(
            synapse_folder,
            tmp_path / "run",
            training=settings(epochs=EPOCHS, learning_rate=5e-3),
            validation_cases=1,
            resume=True,
            **TINY,
        )


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precisions_train(precision, synapse_folder, tmp_path):
    record = train(
        synapse_folder, tmp_path / "run", training=settings(epochs=3, precision=precision, learning_rate=4e-3), **TINY
    )
    assert record.epochs[-1].loss < record.epochs[0].loss


def test_a_decathlon_task_trains_with_context(decathlon_folder, tmp_path):
    record = train(decathlon_folder, tmp_path / "run", training=settings(epochs=1), context_slices=3, **TINY)
    assert np.isfinite(record.epochs[0].loss)


@pytest.mark.parametrize("name", ["config.json", "training.json", "model.safetensors"])
def test_a_damaged_or_foreign_file_in_a_run_is_refused_in_one_line(run, tmp_path, name):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in ("config.json", "training.json", "model.safetensors"):
        content = (run / file).read_bytes()
        (copy / file).write_bytes(content[: len(content) // 2] if file == name else content)
    with pytest.raises((CheckpointError, ConfigError), match=name) as caught:
        load_checkpoint(copy)
    assert "\n" not in str(caught.value)


def test_an_unknown_option_in_a_config_is_refused_with_the_nearest_name(run, tmp_path):
    config = json.loads((run / "config.json").read_text())
    config["network"]["dept"] = 2
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "training.json").write_bytes((run / "training.json").read_bytes())
    with pytest.raises(ConfigError, match=r"network\.dept.*did you mean 'depth'"):
        load_checkpoint(tmp_path)


def test_weights_of_another_network_are_refused_by_tensor(run, tmp_path):
    checkpoint = load_checkpoint(run)
    other = build_network(checkpoint.config.network.model_copy(update={"widths": (16, 24)}))
    save_checkpoint(tmp_path / "mixed", other.state_dict(), checkpoint.config, checkpoint.record)
    with pytest.raises(CheckpointError, match=r"tensor .*: the file has .*, the network expects"):
        load_checkpoint(tmp_path / "mixed")


def test_dice_by_case_leaves_out_what_is_in_neither_mask():
    truth, predicted = np.array([0, 1, 1, 2], np.uint8), np.array([0, 1, 0, 0], np.uint8)
    assert dice_by_case(predicted, truth, 4) == pytest.approx([2 / 3, 0.0])


def test_a_disk_that_is_full_gives_one_line_and_no_half_file(run, tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("embedded_vit.training.checkpoint.save_file", full)
    checkpoint = load_checkpoint(run)
    with pytest.raises(OutputError, match="No space left"):
        save_checkpoint(tmp_path, checkpoint.network.state_dict(), checkpoint.config, checkpoint.record)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]  # and no record, so it is not finished
