"""Compression plans: read whole or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from embedded_vit.compression.gate import Gate
from embedded_vit.compression.plan import STEPS, CompressionPlan, built_in_plans, read_plan
from embedded_vit.compression.step import Step
from embedded_vit.compression.steps.distill import Distill
from embedded_vit.compression.steps.prune_channels import PruneChannels
from embedded_vit.compression.steps.quantize import Quantize
from embedded_vit.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:.*'fold' does nothing:FutureWarning")

EXAMPLE = """
gate: {metric: dice, keep: 0.99, worst_organ: 0.02}
steps:
  - fold
  - prune_channels: {target_macs: 0.5, rounds: 5, epochs: 10}
  - distill: {teacher: runs/synapse-224, epochs: 20}
  - quantize: {precision: int8, calibration_slices: 64}
"""


def plan_file(folder: Path, text: str | bytes) -> Path:
    path = folder / "plan.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_plan_is_read_with_its_gate_and_steps_in_order(tmp_path):
    read = read_plan(plan_file(tmp_path, EXAMPLE))
    assert read.gate == Gate(metric="dice", keep=0.99, worst_organ=0.02)
    channels, distill, quantize = read.steps
    assert channels == PruneChannels(target_macs=0.5, rounds=5, epochs=10)
    assert distill == Distill(teacher=(Path("runs/synapse-224"),), epochs=20)
    assert quantize == Quantize(precision="int8", calibration_slices=64)


@pytest.mark.parametrize("step", ["nothing", "nothing:", "nothing: {}"])
def test_a_step_without_settings_may_be_written_in_three_ways(step, tmp_path, monkeypatch):
    class Nothing(Step):
        name: ClassVar[str] = "nothing"

    monkeypatch.setitem(STEPS, "nothing", Nothing)
    (read,) = read_plan(plan_file(tmp_path, f"steps:\n  - {step}\n")).steps
    assert type(read) is STEPS["nothing"]


@pytest.mark.parametrize("step", ["fold", "fold:", "fold: {}"])
def test_fold_still_loads_and_is_said_to_do_nothing(step, tmp_path):
    path = plan_file(tmp_path, f"steps:\n  - {step}\n")
    with pytest.warns(FutureWarning, match="step 1: 'fold' does nothing"):
        assert read_plan(path).steps == ()


def test_plain_values_read_back_equal(tmp_path):
    read = read_plan(plan_file(tmp_path, EXAMPLE))
    assert CompressionPlan.from_plain(read.plain(), source="there") == read
    assert read.plain()["steps"][0]["prune_channels"]["learning_rate"] == 1e-3  # defaults too


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", built_in_plans())
def test_built_in_plans_are_valid(name):
    assert read_plan(name).steps
    assert read_plan(name) == read_plan(built_in_plans()[name])


def test_the_plan_for_processors_aims_at_latency_and_the_papers_do_not():
    (step,) = read_plan("embedded-cpu").steps
    assert (step.target_latency, step.target_macs) == (0.67, None)
    assert step.multiple is None  # the block of channels of the machine that measures


def test_a_plan_by_macs_is_read_as_older_versions_recorded_it():
    recorded = {"steps": [{"prune_channels": {"target_macs": 0.5, "target_latency": None, "epochs": 3, "multiple": 8}}]}
    assert CompressionPlan.from_plain(recorded, source="recipe.json").steps == (
        PruneChannels(target_macs=0.5, epochs=3),
    )


def test_the_papers_three_sparsities_are_built_in():
    assert {"paper-prune-50", "paper-prune-70", "paper-prune-90"} <= set(built_in_plans())
    for name in built_in_plans():
        if name.startswith("paper-prune-"):
            (step,) = read_plan(name).steps
            assert step.sparsity == int(name[-2:]) / 100


def test_an_unknown_name_lists_the_built_in_plans():
    with pytest.raises(ConfigError, match=r"'embeded-cpu': neither a file nor a built-in plan; .* embedded-cpu, int8"):
        read_plan("embeded-cpu")


def test_a_file_comes_before_a_built_in_plan_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick").write_text("steps: [quantize: {precision: bf16}]")
    assert read_plan("quick").steps == (Quantize(precision="bf16"),)


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"quick\.yaml"):
        read_plan(tmp_path / "quick.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "steps: [prune_weight: {sparsity: 0.5}]",
            "step 1: unknown step 'prune_weight' (did you mean 'prune_weights'?)",
        ),
        (
            "steps: [fold, prune_weights: {sparsty: 0.5}]",
            "step 2, prune_weights: unknown option 'sparsty' (did you mean",
        ),
        ("steps: [prune_weights: {sparsity: 1.5}]", "step 1, prune_weights: sparsity: Input should be less than 1"),
        ("steps: [prune_weights: 0.5]", "step 1, prune_weights: expected settings by name, got 0.5"),
        ("steps: [{fold: {}, distill: {}}]", "step 1: expected a step's name, or one name with its settings"),
        ("steps: [[fold]]", "step 1: expected a step's name"),
        ("steps: [quantize: {precision: fp16}, prune_weights: {sparsity: 0.5}]", "quantize must be the last step"),
        ("steps: []", "steps: the list is empty; expected at least one of prune_weights, "),
        ("steps: fold", "steps: Input should be a valid tuple"),
        ("gate: {keep: 0.9}", "steps: Field required"),
        ("gate: {kep: 0.9}\nsteps: [fold]", "unknown option 'gate.kep'"),
        ("gates: {keep: 0.9}\nsteps: [fold]", "unknown option 'gates' (did you mean 'gate'?)"),
        ("gate: {keep: .nan}\nsteps: [fold]", "gate.keep: "),
    ],
)
def test_a_mistake_is_named_in_one_line(text, expected, tmp_path):
    path = plan_file(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_plan(path)
    assert expected in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
