"""The whole of a compression: measured stages, a gate that stops harm, and going on after a kill."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from embedded_vit.compression import measure
from embedded_vit.compression.compressing import compress
from embedded_vit.compression.gate import Gate
from embedded_vit.compression.plan import LEFT_OUT, CompressionPlan
from embedded_vit.compression.record import read_compression_record
from embedded_vit.compression.step import Step, StepResult
from embedded_vit.compression.steps.distill import Distill
from embedded_vit.costs.footprint import Footprint
from embedded_vit.costs.latency import Latency
from embedded_vit.engines import load, open_network
from embedded_vit.errors import ConfigError, GateError, OutputError
from embedded_vit.export import exporting
from embedded_vit.plausibility import Plausibility

LAYERS = ("stem.norm", "down.0.norm", "up.0.norm", "decoder.0.second.norm")


class Wreck(Step):
    """Silences layers, those that it may."""

    name: ClassVar[str] = "wreck"
    layers: tuple[str, ...] = LAYERS

    def units(self, before):
        return LAYERS

    def damaged(self, before, unit, context):
        network = copy.deepcopy(before.network)
        with torch.no_grad():
            network.get_submodule(unit).weight.zero_()
        return open_network(network)

    def apply(self, before, context, folder, protected):
        checkpoint = copy.deepcopy(before)
        with torch.no_grad():
            for layer in set(self.layers) - protected:
                checkpoint.network.get_submodule(layer).weight.zero_()
        return StepResult(checkpoint)


def distilled(run, **settings) -> CompressionPlan:
    return CompressionPlan(steps=(Distill(teacher=(run,), epochs=2, learning_rate=1e-4, **settings),))


@pytest.fixture(scope="module")
def compressed(trained_run, tmp_path_factory):
    output = tmp_path_factory.mktemp("compressed") / "run"
    return output, compress(trained_run, distilled(trained_run), output, threads=1)


def test_every_stage_is_measured(compressed):
    output, record = compressed
    assert [stage.name for stage in record.stages] == ["original", "distill"]
    for stage in record.stages:
        assert stage.measured.test.cases == 2
        assert stage.measured.validation.cases == 1
        assert stage.measured.file_bytes == (output / stage.artifact).stat().st_size
    assert record.stages[0].measured.previous_latency_ms is None
    assert set(record.stages[1].measured.previous_latency_ms) == {"1", "2"}
    assert read_compression_record(output) == record


def test_the_result_is_an_ordinary_run_with_its_artifact(compressed):
    output, record = compressed
    manifest = load(output / "model.onnx").manifest
    (step,) = record.recipe["steps"]
    assert manifest.compression == {"gate": None, "steps": [{"distill": step["distill"] | {"teacher": [LEFT_OUT]}}]}
    last = load(output / record.stages[-1].artifact).manifest
    assert last.plausibility is None  # what masks look like is measured once, of the file that is kept
    assert manifest.model_copy(update={"plausibility": None}) == last
    assert not list(output.glob("cache*"))


def test_a_killed_compression_goes_on_to_the_same_weights(compressed, trained_run, tmp_path, monkeypatch):
    from embedded_vit.training.loop import Trainer

    class Killed(Exception):
        pass

    whole_epochs, save = [], Trainer._save

    def save_then_die(self, epoch):
        save(self, epoch)
        whole_epochs.append(epoch)
        if len(whole_epochs) == 1:
            raise Killed

    monkeypatch.setattr(Trainer, "_save", save_then_die)
    with pytest.raises(Killed):
        compress(trained_run, distilled(trained_run), tmp_path / "run", threads=1)
    compress(trained_run, distilled(trained_run), tmp_path / "run", threads=1, resume=True)
    assert whole_epochs == [1, 2]
    one, other = load_file(compressed[0] / "model.safetensors"), load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_gate_stops_a_harmful_plan_and_keeps_what_passed(trained_run, tmp_path):
    plan = CompressionPlan(gate=Gate(keep=0.95, worst_organ=0.1), steps=(Wreck(),))
    with pytest.raises(GateError, match="does not pass the gate") as caught:
        compress(trained_run, plan, tmp_path / "run", threads=1)
    assert caught.value.exit_status == 4
    record = read_compression_record(tmp_path / "run")
    assert [stage.name for stage in record.stages] == ["original"]
    assert record.gate_failed == str(caught.value)
    one, other = load_file(trained_run / "model.safetensors"), load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_step_that_fails_spares_the_most_sensitive_units_and_passes(trained_run, tmp_path, monkeypatch):
    judged = []
    plausibility = Plausibility(cases=5, unit="voxels", structures={})
    monkeypatch.setattr(exporting, "measured_plausibility", lambda *_: judged.append(1) or plausibility)

    class Careful(Wreck):
        """Harms one layer only, so that sparing the most sensitive is enough."""

        layers: tuple[str, ...] = ("stem.norm",)

    plan = CompressionPlan(gate=Gate(keep=0.95, worst_organ=0.1), steps=(Careful(),))
    record = compress(trained_run, plan, tmp_path / "run", threads=1)
    attempts = record.stages[-1].attempts
    assert not attempts[0].passed
    assert attempts[-1].passed
    assert "stem.norm" in attempts[-1].protected
    assert judged == [1]  # of the original and of two attempts or more, only what is kept
    assert load(tmp_path / "run" / "model.onnx").manifest.plausibility == plausibility


def test_an_output_that_holds_a_run_is_refused(trained_run, tmp_path):
    with pytest.raises(OutputError, match="holds a run already"):
        compress(trained_run, distilled(trained_run), trained_run)


def test_resuming_with_another_plan_is_refused(compressed, trained_run):
    with pytest.raises(ConfigError, match="another run or plan"):
        compress(trained_run, distilled(trained_run, weight=0.25), compressed[0], resume=True)
    assert json.loads((compressed[0] / "recipe.json").read_text())["run"] == str(trained_run)


def test_resuming_with_other_masks_is_refused(compressed, trained_run, synapse_folder, tmp_path):
    output = Path(shutil.copytree(compressed[0], tmp_path / "run"))
    data = Path(shutil.copytree(synapse_folder, tmp_path / "data"))
    assert compress(
        trained_run, distilled(trained_run), output, data_folder=data, threads=1, resume=True
    ) == read_compression_record(output)
    test_volume = min((data / "test_vol_h5").iterdir())  # of a case that was only measured on
    with h5py.File(test_volume, "r+") as file:
        file["label"][...] = np.roll(file["label"][...], 5, axis=1)
    with pytest.raises(ConfigError, match=r"scans or masks of .*data have changed"):
        compress(trained_run, distilled(trained_run), output, data_folder=data, threads=1, resume=True)


def test_latency_and_memory_are_measured_in_the_engine_asked_for(trained_run, tmp_path, monkeypatch):
    asked = []

    def latency(paths, *, engine, **_):
        asked.append(engine)
        return [Latency(1.0, 1.0, 1) for _ in paths]

    def sizes(artifact, *, engine):
        asked.append(engine)
        return Footprint(1, 1, 1.0)

    monkeypatch.setattr(measure, "paired_latency", latency)
    monkeypatch.setattr(measure, "footprint", sizes)
    plan = CompressionPlan(steps=(Wreck(layers=()),))
    record = compress(trained_run, plan, tmp_path / "run", threads=1, engine="openvino")
    assert asked == ["openvino"] * 6  # on 1 and on 2 threads, and memory, of both stages
    assert record.engine == read_compression_record(tmp_path / "run").engine == "openvino"
    with pytest.raises(ConfigError, match="in another engine"):
        compress(trained_run, plan, tmp_path / "run", threads=1, resume=True)


def test_a_compression_that_was_begun_with_a_retired_step_resumes(compressed, trained_run, tmp_path):
    """As older versions left it: `fold` in the plan, and a stage of its own."""
    output = tmp_path / "run"
    shutil.copytree(compressed[0], output)
    request = json.loads((output / "recipe.json").read_text())
    request["recipe"]["steps"].insert(0, {"fold": {}})
    (output / "recipe.json").write_text(json.dumps(request))
    record = json.loads((output / "compression.json").read_text())
    original, distill = record["stages"]
    shutil.copytree(output / "steps" / "0-original", output / "steps" / "1-fold")
    (output / "steps" / "1-distill").rename(output / "steps" / "2-distill")
    fold = original | {"name": "fold", "artifact": "steps/1-fold/model.onnx"}
    record["stages"] = [original, fold, distill | {"artifact": "steps/2-distill/model.onnx"}]
    (output / "compression.json").write_text(json.dumps(record))
    resumed = compress(trained_run, distilled(trained_run), output, threads=1, resume=True)
    assert [stage.name for stage in resumed.stages] == ["original", "distill"]
    assert resumed.stages[1].artifact == "steps/2-distill/model.onnx"
