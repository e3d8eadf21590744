"""Recipes: read whole or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedded_vit.compression.distill import Distill
from embedded_vit.compression.gate import Gate
from embedded_vit.compression.plan import STEPS, Recipe, read_recipe
from embedded_vit.compression.prune_channels import PruneChannels
from embedded_vit.compression.quantize import Quantize
from embedded_vit.errors import ConfigError

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.yaml"))
EXAMPLE = """
gate: {metric: dice, keep: 0.99, worst_organ: 0.02}
steps:
  - fold
  - prune_channels: {target_macs: 0.5, rounds: 5, epochs: 10}
  - distill: {teacher: runs/synapse-224, epochs: 20}
  - quantize: {precision: int8, calibration_slices: 64}
"""


def recipe(folder: Path, text: str | bytes) -> Path:
    path = folder / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_recipe_is_read_with_its_gate_and_steps_in_order(tmp_path):
    read = read_recipe(recipe(tmp_path, EXAMPLE))
    assert read.gate == Gate(metric="dice", keep=0.99, worst_organ=0.02)
    fold, channels, distill, quantize = read.steps
    assert fold.name == "fold"
    assert channels == PruneChannels(target_macs=0.5, rounds=5, epochs=10)
    assert distill == Distill(teacher=(Path("runs/synapse-224"),), epochs=20)
    assert quantize == Quantize(precision="int8", calibration_slices=64)


@pytest.mark.parametrize("step", ["fold", "fold:", "fold: {}"])
def test_a_step_without_settings_may_be_written_in_three_ways(step, tmp_path):
    (read,) = read_recipe(recipe(tmp_path, f"steps:\n  - {step}\n")).steps
    assert type(read) is STEPS["fold"]


def test_plain_values_read_back_equal(tmp_path):
    read = read_recipe(recipe(tmp_path, EXAMPLE))
    assert Recipe.from_plain(read.plain(), source="there") == read
    assert read.plain()["steps"][1]["prune_channels"]["learning_rate"] == 1e-3  # defaults too


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(path):
    assert read_recipe(path).steps


def test_the_papers_three_sparsities_are_shipped():
    assert {"paper-prune-50", "paper-prune-70", "paper-prune-90"} <= {path.stem for path in SHIPPED}
    for path in SHIPPED:
        if path.stem.startswith("paper-prune-"):
            (step,) = read_recipe(path).steps
            assert step.sparsity == int(path.stem[-2:]) / 100


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
        ("steps: [quantize: {precision: fp16}, fold]", "quantize must be the last step"),
        ("steps: []", "steps: Tuple should have at least 1 item"),
        ("steps: fold", "steps: Input should be a valid tuple"),
        ("gate: {keep: 0.9}", "steps: Field required"),
        ("gate: {kep: 0.9}\nsteps: [fold]", "unknown option 'gate.kep'"),
        ("gates: {keep: 0.9}\nsteps: [fold]", "unknown option 'gates' (did you mean 'gate'?)"),
        ("gate: {keep: .nan}\nsteps: [fold]", "gate.keep: "),
    ],
)
def test_a_mistake_is_named_in_one_line(text, expected, tmp_path):
    path = recipe(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_recipe(path)
    assert expected in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
