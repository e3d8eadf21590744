"""The one command that reproduces a built-in model: patients, figures, installing, and going on after it was killed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accuracy_artifacts import organ_graph

import embedded_vit
from embedded_vit.artifact.manifest import hashed_names, read_artifact
from embedded_vit.artifact.onnx_file import graph_digest
from embedded_vit.builtin import index
from embedded_vit.builtin.card import card
from embedded_vit.builtin.index import TrainingStage, builtin_model
from embedded_vit.compression.record import read_compression_record
from embedded_vit.compression.steps.distill import Distill
from embedded_vit.contract import SpacingRange
from embedded_vit.datasets import open_data_set
from embedded_vit.errors import ConfigError, OutputError
from embedded_vit.evaluation.evaluating import evaluate
from embedded_vit.training.checkpoint import MODEL, load_checkpoint, read_record, read_run_config
from embedded_vit.training.loop import Trainer
from factory import model_cards, table
from factory.experiments import experiments_of
from factory.facts import figures_of
from factory.figures import pooled_figures
from factory.folders import ModelFolders
from factory.installing import install
from factory.making import ModelMaker
from factory.plausible_masks import add_plausibility

EVERYONE = ("case0001", "case0002", "case0003", "case0004", "case0005", "case0006")
TINY = table.Training(
    table.BTCV,
    {"recipe": "modern", "epochs": 2, "seed": 3},
    architecture={"image_size": 16, "family": "hybrid", "widths": (16, 32), "depth": 1, "stem_stride": 2},
    seeds=2,
    folds=2,
    spacing_range=SpacingRange(slices_mm=(1, 20), in_plane_mm=(0.5, 9)),
)


def maker(name: str, data: Path, output: Path) -> ModelMaker:
    return ModelMaker(ModelFolders(name, output), data, threads=1)


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A table with a network that trains in a second, and the folder that its models are installed into."""
    folder = tmp_path_factory.mktemp("builtin")
    models = {
        "tiny-ct": table.Model("8 phantom organs", "tiny"),
        "tiny-ct-half": table.Model("8 phantom organs, halves", "tiny", table.HALF),
        "tiny-ct-large": table.Model("8 phantom organs, more pixels", "tiny-32"),
        "tiny-ct-taught": table.Model("8 phantom organs, by a teacher", "tiny-taught", table.HALF),
        "tiny-ct-pruned": table.Model("8 phantom organs, fewer channels", "tiny-polished", table.HALF),
    }
    larger = replace(TINY, architecture=TINY.architecture | {"image_size": 32}, starts_from="tiny")
    lesson = TINY.settings | {"epochs": 1, "learning_rate": 1e-3, "cutmix": 0.5}
    taught = replace(TINY, settings=lesson, starts_from="tiny", taught_by="tiny-32")
    pruned = {"target_macs": 0.7, "importance_slices": 4}
    trainings = {
        "tiny": TINY,
        "tiny-32": larger,
        "tiny-taught": taught,
        "tiny-pruned": replace(taught, architecture=larger.architecture, pruned=pruned, taught_by="tiny"),
        "tiny-polished": replace(larger, starts_from="tiny-pruned"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "TRAININGS", trainings)
        patch.setattr(table, "MODELS", models)
        patch.setattr(index, "FOLDER", folder)
        yield folder


@pytest.fixture(scope="module")
def work(package: Path, synapse_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tiny-ct was made, with all its experiments."""
    folder = tmp_path_factory.mktemp("work")
    maker("tiny-ct", synapse_folder, folder).make()
    return folder


@pytest.fixture(scope="module")
def pruned_work(work: Path, synapse_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tiny-ct-pruned was made, `all` asked for before the split whose widths it takes."""
    folder = tmp_path_factory.mktemp("pruned")
    shutil.copytree(work / "tiny", folder / "tiny")
    maker("tiny-ct-pruned", synapse_folder, folder).make(["all", "split"])
    return folder


def test_every_patient_tests_in_one_fold_and_all_train_what_is_shipped(synapse_folder: Path) -> None:
    splits = experiments_of(open_data_set(synapse_folder), replace(TINY, folds=4))
    assert list(splits) == ["split", "split-1", "fold-1", "fold-2", "fold-3", "fold-4", "all"]
    assert (splits["split"].train, splits["split"].test) == (EVERYONE[:4], EVERYONE[4:])
    assert splits["split-1"] == splits["split"].model_copy(update={"seed": TINY.settings["seed"] + 1})
    assert (splits["all"].train, splits["all"].test) == (EVERYONE, ())
    folds = [splits[name] for name in splits if name.startswith("fold")]
    assert sorted(name for fold in folds for name in fold.test) == list(EVERYONE)
    for fold in folds:
        assert sorted(fold.train + fold.test) == list(EVERYONE)
        assert not fold.validation


def test_pooled_folds_give_what_one_evaluation_gives(
    make_artifact: Callable[..., Path], synapse_folder: Path, tmp_path: Path
) -> None:
    labels = open_data_set(synapse_folder).labels
    documents = []
    for number, tests in enumerate((EVERYONE, EVERYONE[:2], EVERYONE[2:])):
        split = {"train": (), "validation": (), "test": hashed_names(tests)}
        artifact = make_artifact(organ_graph(), labels=labels, split=split)
        evaluate(artifact, synapse_folder, output=tmp_path / str(number), threads=1)
        documents.append(json.loads((tmp_path / str(number) / "metrics.json").read_text()))
    whole, *folds = documents
    figures = pooled_figures(folds, "two folds")
    assert figures == pooled_figures([whole], "two folds")
    assert figures.patients == 6
    assert figures.dice == pytest.approx(whole["mean"]["dice"])
    assert figures.hd95 == pytest.approx(whole["mean"]["hd95"])
    for name, organ in figures.organs.items():
        assert organ.dice == whole["organs"][name]["dice"]
        assert (organ.missed, organ.scored) == (
            whole["organs"][name]["counts"]["missed"],
            whole["organs"][name]["counts"]["scored"],
        )
    assert figures.worst_organ[1] == min(organ.dice for organ in figures.organs.values() if organ.dice is not None)
    assert figures.worst_patient_dice == min(case["mean"]["dice"] for case in whole["cases"].values())
    dice = [failure.dice for failure in figures.failures]
    assert dice
    assert dice == sorted(dice)
    assert max(dice) < 0.5


def test_one_command_trains_tests_and_installs(work: Path, decathlon_folder: Path) -> None:
    model = builtin_model("tiny-ct")
    assert [figures.experiment for figures in model.facts.figures] == [
        "Cross-validation, 2 folds, 6 patients",
        "4 patients trained, 2 tested",
    ]
    assert [figures.patients for figures in model.facts.figures] == [6, 2]
    assert [len(figures.dice_of_other_seeds) for figures in model.facts.figures] == [0, 1]
    assert read_run_config(work / "tiny" / "split-1" / "run").training.seed == 4
    assert set(model.manifest.split["train"]) == set(hashed_names(EVERYONE))
    assert (model.manifest.name, model.manifest.spacing_range) == ("tiny-ct", TINY.spacing_range)
    assert (model.facts.training.stages, model.facts.training.seed) == ((TrainingStage(name="tiny", epochs=2),), 3)
    assert not list(work.glob("**/cache"))
    scan = sorted((decathlon_folder / "imagesTr").iterdir())[0]
    assert embedded_vit.load("tiny-ct", threads=1).predict(scan).summary()["model"] == "tiny-ct"


def test_what_is_done_is_read(package: Path, work: Path, synapse_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Trainer, "run", refuse)
    installed = (package / "tiny-ct.onnx").read_bytes()
    (package / "tiny-ct.onnx").unlink()
    maker("tiny-ct", synapse_folder, work).make()
    assert (package / "tiny-ct.onnx").read_bytes() == installed


@pytest.mark.slow
def test_a_compressed_model_shares_the_trainings(
    work: Path, synapse_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "run", None)
    half = maker("tiny-ct-half", synapse_folder, work)
    half.make(["split", "all"])
    model = builtin_model("tiny-ct-half")
    assert model.manifest.precision == "fp16"
    assert model.file_bytes < builtin_model("tiny-ct").file_bytes
    assert [figures.patients for figures in model.facts.figures] == [2]  # no fold was tested in this precision
    assert model.facts.figures[0].dice_of_other_seeds == ()
    stages = read_compression_record(half.folders.compression("split")).stages
    assert all(stage.measured.train is None and stage.measured.test is not None for stage in stages)  # without a gate
    other = replace(half.folders.model, plan=table.INTEGER)
    monkeypatch.setitem(table.MODELS, "tiny-ct-half", other)
    with pytest.raises(ConfigError, match="another compression plan"):
        half.make(["all"])


@pytest.mark.slow
def test_a_training_starts_from_another(work: Path, synapse_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "tiny", tmp_path / "tiny")
    maker("tiny-ct-large", synapse_folder, tmp_path).make(["split", "all"])
    assert read_run_config(tmp_path / "tiny-32" / "all" / "run").training.init == str(tmp_path / "tiny" / "all" / "run")
    model = builtin_model("tiny-ct-large")
    assert model.manifest.preprocessing.image_size == 32
    assert [stage.name for stage in model.facts.training.stages] == ["tiny", "tiny-32"]
    assert "recipe modern, " in card(model)
    assert "in these steps:\n\n1. tiny: 2 epochs\n2. tiny-32: 2 epochs\n" in card(model)


@pytest.mark.slow
def test_a_teacher_is_the_training_of_the_same_experiment(
    work: Path, synapse_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, ...]] = []
    apply = Distill.apply

    def remember(step: Distill, *arguments: Any) -> Any:
        asked.append(step.teacher)
        return apply(step, *arguments)

    monkeypatch.setattr(Distill, "apply", remember)
    shutil.copytree(work / "tiny", tmp_path / "tiny")
    tiny = maker("tiny-ct-taught", synapse_folder, tmp_path)
    for _ in range(2):  # what is taught is not taught again
        tiny.make(["split", "all"])
    assert asked == [(tmp_path / "tiny-32" / experiment / "run",) for experiment in ("split", "all")]
    assert not list(tmp_path.glob("**/cache-*"))
    config = read_run_config(tmp_path / "tiny-taught" / "all" / "run")
    assert (config.training.epochs, config.training.learning_rate, config.training.cutmix) == (1, 1e-3, 0.5)
    model = builtin_model("tiny-ct-taught")
    assert "1. tiny: 2 epochs\n2. tiny-taught: 1 epoch with tiny-32 as teacher\n" in card(model)
    assert str(tmp_path) not in json.dumps(model.manifest.compression)


def test_all_experiments_prune_to_the_widths_that_the_split_found(pruned_work: Path) -> None:
    parts = [pruned_work / "tiny-pruned" / experiment for experiment in ("split", "all")]
    ours, theirs = (read_run_config(folder / "run").network.kept_channels for folder in parts)
    assert ours
    assert ours == theirs
    starts = [load_checkpoint(folder / "start").network.state_dict() for folder in parts]
    assert any(not torch.equal(starts[0][name], value) for name, value in starts[1].items())
    assert not list(pruned_work.glob("**/cache-*"))


def test_what_was_pruned_and_taught_at_another_size_is_trained_on(pruned_work: Path) -> None:
    pruned, polished = (
        read_run_config(pruned_work / name / "all" / "run") for name in ("tiny-pruned", "tiny-polished")
    )
    assert read_run_config(pruned_work / "tiny-pruned" / "all" / "start").network.image_size == 16
    assert pruned.network == polished.network
    assert (pruned.network.image_size, pruned.preprocessing.image_size) == (32, 32)
    model = builtin_model("tiny-ct-pruned")
    assert model.manifest.network["kept_channels"] == pruned.network.kept_channels
    assert (
        "1. tiny: 2 epochs\n"
        "2. tiny-pruned: pruned to 70 % of its MACs, then 1 epoch with tiny as teacher\n"
        "3. tiny-polished: 2 epochs\n" in card(model)
    )


def test_a_killed_training_goes_on_to_the_same_weights(
    work: Path, synapse_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_set, save = open_data_set(synapse_folder), Trainer._save
    parts = maker("tiny-ct", synapse_folder, tmp_path)
    split = experiments_of(data_set, TINY)["all"]

    def killed(trainer: Trainer, epoch: int) -> None:
        save(trainer, epoch)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save", killed)
        with pytest.raises(KeyboardInterrupt):
            parts.train(data_set, "all", split)
    assert len(read_record(parts.folders.run("all")).epochs) == 1
    parts.train(data_set, "all", split)
    whole = ModelFolders("tiny-ct", work).run("all")
    assert (parts.folders.run("all") / MODEL).read_bytes() == (whole / MODEL).read_bytes()


def test_figures_of_some_folds_say_so(work: Path, synapse_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "tiny", tmp_path / "tiny")
    shutil.rmtree(tmp_path / "tiny" / "fold-2")
    some = maker("tiny-ct", synapse_folder, tmp_path)
    figures = figures_of(some.folders, experiments_of(open_data_set(synapse_folder), TINY))
    assert [each.experiment for each in figures] == [
        "Cross-validation, 1 of 2 folds, 3 of 6 patients",
        "4 patients trained, 2 tested",
    ]
    assert figures[0].patients == 3


def test_records_stand_for_folders_that_are_gone(
    work: Path, synapse_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "run", None)
    records, name = tmp_path / "records", "tiny-ct"
    whole = builtin_model(name).facts

    def make(output: Path, *experiments: str) -> tuple[str, ...]:
        ModelMaker(ModelFolders(name, output, records), synapse_folder, threads=1).make(experiments)
        return tuple(figures.experiment for figures in builtin_model(name).facts.figures)

    made = [make(work, "fold-1"), make(work, "split", "split-1")]
    shutil.copytree(work / "tiny" / "fold-2", tmp_path / "today" / "tiny" / "fold-2")
    made.append(make(tmp_path / "today", "fold-2"))
    assert made[0] == made[1] == made[2]  # the folder still has them all
    forgotten = ModelFolders(name, tmp_path / "tomorrow", records)
    splits = experiments_of(open_data_set(synapse_folder), TINY)
    assert figures_of(forgotten, splits) == whole.figures
    assert builtin_model(name).facts == whole
    monkeypatch.setitem(table.TRAININGS, "tiny", replace(TINY, settings={**TINY.settings, "epochs": 5}))
    with pytest.raises(ConfigError, match="nothing was evaluated"):  # they are of another training
        figures_of(forgotten, splits)


def test_what_cannot_be_is_refused(
    work: Path, synapse_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = maker("tiny-ct", synapse_folder, work)
    with pytest.raises(ConfigError, match="no experiment 'fold-3'"):
        made.make(["fold-3"])
    untested = tmp_path / "tiny" / "all"
    shutil.copytree(made.folders.run("all").parent, untested)
    with pytest.raises(ConfigError, match="nothing was evaluated"):
        maker("tiny-ct", synapse_folder, tmp_path).make(["all"])
    monkeypatch.setitem(table.TRAININGS, "tiny", replace(TINY, settings={**TINY.settings, "epochs": 5}))
    with pytest.raises(ConfigError, match="cannot resume with another training"):
        made.make(["all"])


def test_a_package_too_large_is_refused_before_anything_is_written(
    builtin_folder: Path, add_builtin: Callable[..., Path], make_artifact: Callable[..., Path]
) -> None:
    add_builtin("first")
    facts = builtin_model("first").facts
    (builtin_folder / "padding").write_bytes(bytes(index.MAXIMUM_BYTES))
    with pytest.raises(OutputError, match="8 MB at most"):
        install("second", make_artifact(), facts, TINY)
    assert not (builtin_folder / "second.onnx").exists()
    (builtin_folder / "padding").unlink()
    install("second", make_artifact(), facts, TINY)
    assert builtin_model("second").manifest.name == "second"


def test_pictures_of_patients_stay_outside_of_the_project(work: Path, synapse_folder: Path, tmp_path: Path) -> None:
    failures = builtin_model("tiny-ct").facts.figures[0].failures
    assert failures  # two epochs are not enough
    inside = model_cards.REPOSITORY / "docs" / "pictures"
    with pytest.raises(ConfigError, match="show patients"):
        model_cards.draw_failures("tiny-ct", inside, synapse_folder, work)
    assert not inside.exists()
    model_cards.draw_failures("tiny-ct", tmp_path, synapse_folder, work)
    assert len(list(tmp_path.glob("tiny-ct-*.png"))) == len(failures)


@pytest.mark.usefixtures("work")
def test_every_model_gets_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cards, "CARDS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["model_cards.py"])
    model_cards.main()
    for name in index.builtin_names():
        assert (tmp_path / f"{name}.md").read_text() == card(builtin_model(name))
    assert (tmp_path / "tiny-ct.md").exists()


def test_a_built_in_model_says_what_its_masks_look_like_and_keeps_its_graph(
    builtin_folder: Path, make_artifact: Callable[..., Path], synapse_folder: Path
) -> None:
    data_set = open_data_set(synapse_folder)
    split = {"train": hashed_names(EVERYONE), "validation": (), "test": ()}
    path = make_artifact(organ_graph(), name="builtin/organs-ct.onnx", labels=data_set.labels, split=split)
    before, manifest = read_artifact(path)
    training = replace(TINY, voxel_ml=(0.001, 0.002), height_mm=280.0, phantoms=1)
    found = add_plausibility("organs-ct", data_set, training)
    after, renewed = read_artifact(path)
    assert found is not None
    assert renewed == manifest.model_copy(update={"plausibility": found})
    assert graph_digest(after) == graph_digest(before)
    assert (found.unit, found.cases) == ("ml", 7)
    voxels = [int((data_set.read_labels(case).array == 5).sum()) for case in data_set.cases]
    low, high = found.structures["liver"].volume
    assert low < min(voxels) * 0.001
    assert high > max(voxels) * 0.002
    few = replace(data_set, cases=data_set.cases[:2])
    assert add_plausibility("organs-ct", few, replace(training, phantoms=0)) is None
    assert read_artifact(path)[1] == renewed
