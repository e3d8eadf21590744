"""A build: what it leaves, what it refuses, and that a killed one ends with the same model."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from embedded_vit.artifact.manifest import read_artifact
from embedded_vit.build import building, stages
from embedded_vit.build.building import build
from embedded_vit.build.context import BuildContext
from embedded_vit.build.listener import BuildListener
from embedded_vit.build.record import BuildRecord, read_build_record
from embedded_vit.compression.compressing import compress
from embedded_vit.datasets import open_data_set
from embedded_vit.engines import load
from embedded_vit.errors import ConfigError, DataSetError, GateError, OutputError
from embedded_vit.evaluation.evaluating import METRICS_FILE
from embedded_vit.io.file_lock import file_lock
from embedded_vit.planning.build_plan import PLAN_FILE, BuildPlan
from embedded_vit.planning.pace import Pace
from embedded_vit.planning.planning import Clocks, plan_for
from embedded_vit.predict.predictor import Predictor
from embedded_vit.training.checkpoint import read_record


def test_a_build_leaves_a_model_file_and_one_page(built: Path, nnunet_folder: Path) -> None:
    assert sorted(path.name for path in built.iterdir()) == [
        *("build-plan.yaml", "build.json", "build.lock", "evaluation", "model.onnx", "report.html", "run")
    ]
    model = load(built / "model.onnx")
    assert model.manifest.name == "phantom-out"
    data_set = open_data_set(nnunet_folder)
    prediction = Predictor.load(built / "model.onnx").predict(data_set.files_of(data_set.cases[0])[0], force=True)
    assert prediction.mask.shape == data_set.read_volume(data_set.cases[0]).shape
    page = (built / "report.html").read_text(encoding="utf-8")
    for expected in (
        "<h1>phantom-out</h1>",
        "This model is not to be trusted: it was trained for 2 passes",
        "the smallest that can be trained",
        "Research use only",
        "4 cases of 4 patients",
        "median)",
    ):
        assert expected in page
    assert "<script" not in page
    assert "://" not in page


def test_training_validation_and_test_patients_differ(built: Path) -> None:
    split = read_record(built / "run").split
    assert [len(split.names(name)) for name in ("train", "validation", "test")] == [2, 1, 1]
    scored = json.loads((built / "evaluation" / METRICS_FILE).read_text())["cases"]
    assert tuple(scored) == split.test


def test_a_finished_build_is_not_done_again(built: Path, nnunet_folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*") if path.is_file()}
    build(nnunet_folder, built, threads=1)
    assert before == {path: path.stat().st_mtime_ns for path in built.rglob("*") if path.is_file()}


class KillsItself(BuildListener):
    """A listener that kills its process at the n-th sign of life in a stage; 0 is its beginning."""

    def __init__(self, stage: str, sign: int) -> None:
        self.dying, self.signs_left = stage, sign
        self.now = ""

    @contextmanager
    def stage(self, name):
        self.now = name
        self._sign()
        yield

    def advance(self, fraction, figures=""):
        self._sign()

    def _sign(self) -> None:
        if self.now == self.dying:
            if self.signs_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.signs_left -= 1


def killed(output: Path, data: Path, listener: BuildListener, arrange: Callable[[], None] = lambda: None) -> None:
    """Build in a process of its own, which must be killed."""
    process = os.fork()
    if process == 0:
        try:
            arrange()
            build(data, output, threads=1, listener=listener)
        finally:
            os._exit(0)  # a build that was not killed
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status), "the build was over before it was killed"


def dies_while_it_writes(module: object, name: str) -> Callable[[], None]:
    def arrange() -> None:
        setattr(module, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))

    return arrange


@pytest.mark.slow
def test_a_build_that_is_killed_in_every_stage_ends_with_the_same_model(
    built: Path, nnunet_folder: Path, write_plan, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    output = write_plan(nnunet_folder, tmp_path / "out")
    for stage, sign in (("plan", 0), ("prepare", 2), ("train", 0), ("train", 2), ("train", 5), ("score", 0)):
        killed(output, nnunet_folder, KillsItself(stage, sign))
    killed(output, nnunet_folder, BuildListener(), dies_while_it_writes(building.shutil, "rmtree"))
    assert not (output / "report.html").exists()
    build(nnunet_folder, output, threads=1)

    one, other = load_file(built / "run" / "model.safetensors"), load_file(output / "run" / "model.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in one)
    manifests = [read_artifact(folder / "model.onnx")[1] for folder in (built, output)]
    assert manifests[0] == manifests[1].model_copy(update={"created": manifests[0].created})
    figures = [json.loads((folder / "evaluation" / METRICS_FILE).read_text()) for folder in (built, output)]
    assert figures[0]["mean"] == figures[1]["mean"]
    assert sorted(path.name for path in output.iterdir()) == sorted(path.name for path in built.iterdir())
    record = read_build_record(output)
    assert record is not None
    assert set(record.seconds) == {"plan", "prepare", "train", "export", "score"}


def test_a_plan_is_made_where_there_is_none(
    nnunet_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = Clocks(pace=lambda *_: Pace(base=0.0, pixel=1e-7), latency_ms=lambda _: 1.0)
    monkeypatch.setattr(stages, "plan_for", partial(plan_for, clocks=clocks))

    class Stops(BuildListener):
        def __init__(self):
            self.lines: list[str] = []

        def say(self, line):
            self.lines.append(line)

        @contextmanager
        def stage(self, name):
            if name == "prepare":
                raise KeyboardInterrupt
            yield

    listener = Stops()
    with pytest.raises(KeyboardInterrupt):
        build(nnunet_folder, tmp_path / "out", minutes=7.0, listener=listener)
    assert "minutes: 7.0" in (tmp_path / "out" / PLAN_FILE).read_text()
    assert listener.lines[0] == "Phantom"
    assert any("4 cases of 4 patients: 2 train, 1 select the weights, 1 test" in line for line in listener.lines)
    assert listener.lines[-1].startswith("change any of it in")
    with pytest.raises(ConfigError, match=r"was made for --minutes 7\.0, now it is 9\.0; leave the option out"):
        build(nnunet_folder, tmp_path / "out", minutes=9.0)


def test_options_that_the_plan_contradicts_are_refused(built: Path, nnunet_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"was made for --plane axial, now it is coronal"):
        build(nnunet_folder, built, plane="coronal")
    with pytest.raises(ConfigError, match=r"was made for --budget latency_ms left out, now it is 5"):
        build(nnunet_folder, built, latency_ms=5.0)


def test_a_plan_that_was_changed_after_the_training_began_is_refused(
    built: Path, nnunet_folder: Path, tmp_path: Path
) -> None:
    output = Path(shutil.copytree(built, tmp_path / "out"))
    plan = (output / PLAN_FILE).read_text()
    (output / PLAN_FILE).write_text(plan.replace("epochs: 2", "epochs: 3"))
    with pytest.raises(ConfigError, match="was changed after the training began"):
        build(nnunet_folder, output)
    (output / PLAN_FILE).write_text("# a comment\n" + plan.replace("the smallest", "a small one"))
    build(nnunet_folder, output)


def test_other_data_and_other_folders_are_refused(
    built: Path, nnunet_folder: Path, decathlon_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="holds a build with --data"):
        build(decathlon_folder, built)
    with pytest.raises(ConfigError, match="--init left out"):
        build(nnunet_folder, built, init=built / "run")
    with pytest.raises(ConfigError, match="--structures left out"):
        build(nnunet_folder, built, structures=["liver"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.onnx").touch()
    with pytest.raises(OutputError, match=r"holds model\.onnx, but no build"):
        build(nnunet_folder, tmp_path / "out")
    with pytest.raises(DataSetError, match="no such folder"):
        build(tmp_path / "nowhere", tmp_path / "new")


def test_a_data_set_of_one_patient_is_refused_before_it_is_trained_on(
    nnunet_folder: Path, write_plan, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(nnunet_folder, tmp_path / "data"))
    names = [case.name for case in open_data_set(data).cases if not case.reserved_for_test]
    for tested in ("imagesTs", "labelsTs"):
        shutil.rmtree(data / tested)
    (data / "patients.csv").write_text("case,patient\n" + "".join(f"{name},somebody\n" for name in names))
    with pytest.raises(DataSetError, match="1 patient, none of whom can be held out"):
        build(data, write_plan(data, tmp_path / "out"), threads=1)
    assert not (tmp_path / "out" / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this computer has a GPU")
def test_a_device_that_is_not_there_is_refused_before_anything_is_written(nnunet_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cuda") as refused:
        build(nnunet_folder, tmp_path / "out", device="cuda")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_plan_may_ask_for_a_compression(
    nnunet_folder: Path, write_plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tmp_path / "half.yaml"
    plan.write_text("steps: [{prune_channels: {target_macs: 0.6, rounds: 1, epochs: 1, multiple: 4}}]")
    output = write_plan(nnunet_folder, tmp_path / "out", compression=str(plan))
    build(nnunet_folder, output, threads=1)
    manifest = load(output / "model.onnx").manifest
    assert manifest.name == "phantom-out"
    assert manifest.network["kept_channels"]
    assert not (output / "small" / "cache-64").exists()


def test_a_gate_that_stops_the_compression_is_noted(
    built: Path, nnunet_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_, **__):
        raise GateError("step 1, prune_channels, does not pass the gate")

    assert stages.compress is compress
    monkeypatch.setattr(stages, "compress", stopped)
    context = building._context(nnunet_folder, built, None, None, device="cpu", listener=BuildListener())
    context.plan = context.plan.model_copy(update={"compression": "embedded-cpu"})
    before = context.record
    stages.compress_to_plan(context)
    assert context.record.notes == (
        "The network was not compressed further: step 1, prune_channels, does not pass the gate.",
    )
    context.keep(before)


def test_a_second_build_in_the_folder_is_refused_in_one_line(nnunet_folder: Path, write_plan, tmp_path: Path) -> None:
    output = write_plan(nnunet_folder, tmp_path / "out")
    before = sorted(path.name for path in output.iterdir())
    with file_lock(output / building.LOCK_FILE), pytest.raises(ConfigError, match=r"another build is running in this"):
        build(nnunet_folder, output, threads=1)
    assert sorted(path.name for path in output.iterdir()) == [*before, building.LOCK_FILE]


def test_data_that_cannot_be_opened_leave_no_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(DataSetError, match="no data set is recognised"):
        build(tmp_path / "data", tmp_path / "deep" / "out", threads=1)
    assert not (tmp_path / "deep" / "out").exists()


def test_a_plan_keeps_its_structures(nnunet_folder: Path, write_plan, tmp_path: Path) -> None:
    output = write_plan(nnunet_folder, tmp_path / "out")
    stored = open_data_set(nnunet_folder)
    some = stored.labels.names[1:3]
    plan = BuildPlan.read(output / PLAN_FILE)
    network = plan.network.model_copy(update={"classes": 3})
    chosen = plan.model_copy(update={"structures": some, "network": network})
    assert chosen.data_set(stored).labels.names == some
    assert chosen.run_config(stored).labels.names == some
    assert chosen.data_set(stored.with_structures(some)).labels.names == some  # `build --structures`, the same
    chosen.write(output / PLAN_FILE, overwrite=True)
    assert BuildPlan.read(output / PLAN_FILE).structures == some
    context = BuildContext(nnunet_folder, output, BuildRecord(data_folder=str(nnunet_folder)))
    context.record = context.record.model_copy(update={"structures": some[:1]})
    with pytest.raises(ConfigError, match="was made for --structures"):
        building._check_plan(context)


def test_the_digest_of_an_older_plan_is_what_it_was(nnunet_folder: Path, write_plan, tmp_path: Path) -> None:
    output = write_plan(nnunet_folder, tmp_path / "out")
    context = BuildContext(nnunet_folder, output, BuildRecord(data_folder=str(nnunet_folder)))
    without = context.plan.model_dump_json(exclude={"reasons", "structures"})
    assert context.plan_sha256 == hashlib.sha256(without.encode()).hexdigest()
