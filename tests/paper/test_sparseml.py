"""SparseML recipes: the paper's becomes our settings, nothing in a file is run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sparseml import TAG, RecipeLoader, evaluate, read_sparseml

from embedded_vit.compression.steps.prune_weights import PruneWeights, prunable_weights
from embedded_vit.errors import ConfigError
from embedded_vit.io.plain_yaml import parse_yaml
from embedded_vit.models.reference_checkpoint import reference_name
from embedded_vit.models.registry import build_network, network_config

PAPER_RECIPE = Path(__file__).resolve().parents[2] / "paper" / "prun.yaml"
FILE = """
epochs: 15.0
training_modifiers:
  - !EpochRangeModifier {start_epoch: 0, end_epoch: eval(epochs)}
  - !SetLearningRateModifier {start_epoch: 0, learning_rate: 0.1}
  - !LearningRateFunctionModifier {start_epoch: 1, end_epoch: 10, init_lr: 0.1, final_lr: 0.01, lr_func: linear}
  - !LearningRateFunctionModifier {start_epoch: 10, end_epoch: 15, init_lr: 0.1, final_lr: 0.01, lr_func: linear}
  - !GlobalMagnitudePruningModifier
    start_epoch: 1
    end_epoch: 10
    init_sparsity: 0.05
    final_sparsity: 0.8
    update_frequency: 0.5
    params: __ALL_PRUNABLE__
"""


def names(network: str = "embedded-vit-64") -> list[str]:
    return list(prunable_weights(build_network(network_config(network, classes=9))))


def read(folder: Path, text: str) -> PruneWeights:
    path = folder / "prun.yaml"
    path.write_text(text)
    return read_sparseml(path, names(), stages=2)


def test_the_papers_recipe_becomes_our_settings():
    step = read_sparseml(PAPER_RECIPE, names(), stages=2)
    left_out = {
        f"decoder.0.blocks.1.feed_forward{place}.{layer}.weight" for place in (1, 2) for layer in ("fc1", "fc2")
    }
    assert set(step.weights) == set(names()) - left_out
    assert step == PruneWeights(
        sparsity=0.5,
        initial_sparsity=0.05,
        stabilise_epochs=1,
        prune_epochs=9,
        finetune_epochs=5,
        update_epochs=0.5,
        learning_rate=1e-4,
        final_learning_rate=5e-5,
        decay="cosine",
        weights=step.weights,
        teacher_weight=0,
    )


def test_at_224_pixels_the_papers_list_knows_the_first_block_of_each_stage_only():
    step = read_sparseml(PAPER_RECIPE, names("embedded-vit-224"), stages=2)
    assert any(name.startswith("encoder.1.blocks.0.") for name in step.weights)
    assert not any(name.startswith("encoder.1.blocks.1.") for name in step.weights)


def test_all_prunable_parameters_can_be_asked_for(tmp_path):
    step = read(tmp_path, FILE)
    assert step.weights == tuple(names())
    assert (step.sparsity, step.decay, step.learning_rate) == (0.8, "linear", 0.1)


def test_a_markdown_recipe_is_read_from_its_front_matter(tmp_path):
    assert read(tmp_path, f"---\n{FILE}\n---\n# A model card\n- [not: yaml\n") == read(tmp_path, FILE)


def test_the_authors_names_become_ours_and_dead_ones_are_left_out(tmp_path):
    live = [reference_name(name, stages=2) for name in names()[:3]]
    dead = ["backbone.block3.0.attn.keys.weight", "decoder_2.x1_linear.weight"]
    step = read(tmp_path, FILE.replace("__ALL_PRUNABLE__", str(live + dead)))
    assert step.weights == tuple(names()[:3])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("!GlobalMagnitude", "!GlobalMagnitud", "unknown modifier 'GlobalMagnitudPruningModifier' (did you mean"),
        ("update_frequency", "update_frequenzy", "(did you mean 'update_frequency'?)"),
        ("eval(epochs)", "eval(epoch)", "unknown variable 'epoch' (did you mean 'epochs'?)"),
        ("eval(epochs)", "eval(__import__('os').system('true'))", "only numbers, variables"),
        ("__ALL_PRUNABLE__", "[backbone.block1.0.attn.key.weight]", "the network has no 'backbone.block1.0"),
        ("__ALL_PRUNABLE__", "'re:nothing'", "'re:nothing' fits no parameter"),
        ("__ALL_PRUNABLE__", "'re:('", "is not a regular expression"),
        ("__ALL_PRUNABLE__", "'re:(a+)+$'", "repeats a group"),
        ("__ALL_PRUNABLE__", "[backbone.block3.0.attn.keys.weight]", "none of them takes part"),
        ("end_epoch: 10\n", "end_epoch: 20\n", "does not lie within epochs 0 to 15"),
        ("end_epoch: 15, init_lr: 0.1", "end_epoch: 15, init_lr: 0.2", "expected the learning rate"),
        ("lr_func: linear", "lr_func: cyclic", "decay: Input should be 'cosine' or 'linear'"),
        ("params:", "mask_type: block4\n    params:", "mask_type: 'block4' is not supported"),
        ("final_sparsity: 0.8", "final_sparsity: eval(epochs / 0)", "has no value"),
        ("  - !EpochRangeModifier {start_epoch: 0, end_epoch: eval(epochs)}\n", "", "expected one EpochRangeModifier"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_in_one_line(old, new, expected, tmp_path):
    assert old in FILE
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, FILE.replace(old, new))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("eval(a + b * 2)", 7.0), ("eval(-(a - b) / 4)", 0.5), ("eval(shape)", "cosine"), ("eval(c)", 8.0), (3, 3)],
)
def test_arithmetic_over_variables(text, value):
    assert evaluate(text, {"a": 1.0, "b": 3, "c": "eval(a + 7)", "shape": "cosine"}, source="file") == value


@pytest.mark.parametrize(
    "text",
    [
        "eval(a ** 99)",
        "eval(a.real)",
        "eval(a[0])",
        "eval((lambda: 1)())",
        "eval('x' * 9)",
        "eval(shape * 9)",
        "eval(True)",
        "eval(1e308 * 10)",
        "eval(1; 2)",
        "eval(" + "(" * 150 + "1" + ")" * 150 + ")",
        "eval(circle)",
    ],
)
def test_nothing_else_is_computed(text):
    with pytest.raises(ConfigError, match="file: "):
        evaluate(text, {"a": 2.0, "shape": "cosine", "circle": "eval(circle + 1)"}, source="file")


def test_variables_that_double_each_other_take_no_time():
    variables = {"v0": 1.0} | {f"v{place}": f"eval(v{place - 1} + v{place - 1})" for place in range(1, 16)}
    started = time.process_time()
    assert evaluate("eval(v15)", variables, source="file") == 2.0**15
    assert time.process_time() - started < 1


def test_tags_are_only_names_and_only_where_they_are_asked_for():
    values = parse_yaml("a: [!Name {b: 1}]", source="text", loader=RecipeLoader)
    assert values == {"a": [{TAG: "Name", "b": 1}]}
    for hostile in ("a: !!python/name:os.system ''", "a: !!python/object/new:tuple {}", "a: !Name text"):
        with pytest.raises(ConfigError, match="is not read"):
            parse_yaml(hostile, source="text", loader=RecipeLoader)
