"""Reads a SparseML recipe such as `prun.yaml`, and returns the same settings for our step `prune_weights`.

A file holds variables and lists of modifiers:

    final_sparsity: 0.5
    pruning_modifiers:
      - !GlobalMagnitudePruningModifier
        final_sparsity: eval(final_sparsity)
        ...

Nothing of the file is run: `eval(...)` is arithmetic over the variables of the file, and a tag is only a name.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from embedded_vit.compression.steps.prune_weights import PruneWeights
from embedded_vit.config import Config, nearest_name
from embedded_vit.errors import ConfigError
from embedded_vit.io.plain_yaml import PlainLoader, parse_yaml, read_text
from embedded_vit.models.reference_checkpoint import is_dead, reference_name

__all__ = ["RecipeLoader", "evaluate", "read_sparseml"]

TAG = "!"  # the key that holds the name of a modifier

ALL_PRUNABLE = "__ALL_PRUNABLE__"
MAX_EXPRESSION, MAX_CHAIN = 200, 16
# So that matching takes no time: few repetitions, and none of a group.
MAX_REPETITIONS = 3
_REPETITION = re.compile(r"[*+{]")
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class RecipeLoader(PlainLoader):
    """Also reads `!Name {...}`: the settings with the name at the key `TAG`."""

    def allows_tag(self, event: Any) -> bool:
        """Allow the name of a modifier before its settings."""
        return isinstance(event, yaml.MappingStartEvent) and event.tag.startswith("!")


RecipeLoader.add_multi_constructor("!", lambda loader, name, node: {TAG: name} | loader.construct_mapping(node, True))


class EpochRangeModifier(Config):
    """First and last epoch of the whole recipe."""

    start_epoch: float = Field(ge=0)
    end_epoch: float = Field(gt=0)


class SetLearningRateModifier(Config):
    """A constant learning rate from an epoch on."""

    start_epoch: float = Field(ge=0)
    learning_rate: float = Field(gt=0)


class LearningRateFunctionModifier(Config):
    """A learning rate that falls between two epochs."""

    start_epoch: float = Field(ge=0)
    end_epoch: float = Field(gt=0)
    lr_func: str
    init_lr: float = Field(gt=0)
    final_lr: float = Field(gt=0)


class GlobalMagnitudePruningModifier(Config):
    """Gradual magnitude pruning with one threshold over all named parameters."""

    start_epoch: float = Field(ge=0)
    end_epoch: float = Field(gt=0)
    init_sparsity: float
    final_sparsity: float
    update_frequency: float = -1.0
    params: str | list[str] = Field(min_length=1)
    leave_enabled: bool = True
    inter_func: str = "cubic"
    mask_type: str = "unstructured"


MODIFIERS: dict[str, type[Config]] = {
    modifier.__name__: modifier
    for modifier in (
        EpochRangeModifier,
        SetLearningRateModifier,
        LearningRateFunctionModifier,
        GlobalMagnitudePruningModifier,
    )
}


def read_sparseml(path: str | Path, parameters: Sequence[str], *, stages: int) -> PruneWeights:
    """Read a SparseML recipe of global magnitude pruning, plain YAML or the front matter of a Markdown file.

    Args:
        path: The recipe.
        parameters: Our names of the network's prunable parameters.
        stages: Number of stages of the network, which `reference_name` needs: the recipe has the authors' names.

    Returns:
        The step with the same phases, learning rates, sparsities and parameters, without a teacher.

    Raises:
        ConfigError: The file is not such a recipe, or asks for what `PruneWeights` cannot do; one line.
    """
    source = str(path)
    values = parse_yaml(_front_matter(read_text(Path(path))), source=source, loader=RecipeLoader)
    variables = {name: value for name, value in values.items() if not name.endswith("modifiers")}
    found: dict[type[Config], list[Any]] = {modifier: [] for modifier in MODIFIERS.values()}
    for section, entries in values.items():
        if not section.endswith("modifiers"):
            continue
        if not isinstance(entries, list):
            raise ConfigError(f"{source}: {section}: expected a list of modifiers")
        for entry in entries:
            modifier = _modifier(entry, variables, f"{source}: {section}")
            found[type(modifier)].append(modifier)
    pruning: GlobalMagnitudePruningModifier = _only(found[GlobalMagnitudePruningModifier], source)
    total: EpochRangeModifier = _only(found[EpochRangeModifier], source)
    _check_pruning(pruning, total, source)
    rates = _learning_rates(found[SetLearningRateModifier], found[LearningRateFunctionModifier], pruning, total, source)
    settings = {
        "sparsity": pruning.final_sparsity,
        "initial_sparsity": pruning.init_sparsity,
        "stabilise_epochs": pruning.start_epoch,
        "prune_epochs": pruning.end_epoch - pruning.start_epoch,
        "finetune_epochs": total.end_epoch - pruning.end_epoch,
        "update_epochs": max(0.0, pruning.update_frequency),
        "weights": _our_names(pruning.params, parameters, stages, source),
        "teacher_weight": 0.0,
    }
    return PruneWeights.parse(settings | rates, source=source)


def evaluate(value: Any, variables: dict[str, Any], *, source: str, chain: int = 0) -> Any:
    """Compute `eval(...)`, made of numbers, names of variables, + - * / and parentheses; return other values unchanged.

    Raises:
        ConfigError: The text holds anything else or an unknown variable, or its value is not finite.
    """
    if not (isinstance(value, str) and value.startswith("eval(") and value.endswith(")")):
        return value
    text = value[len("eval(") : -1].strip()
    if chain > MAX_CHAIN:
        raise ConfigError(f"{source}: variables refer to each other more than {MAX_CHAIN} deep, or in a circle")
    refused = f"{source}: '{value:.80}': only numbers, variables, + - * / and parentheses are computed"
    if len(text) > MAX_EXPRESSION:
        raise ConfigError(refused)
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(refused) from error

    def compute(node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return node.value
        if isinstance(node, ast.Name):
            if node.id not in variables:
                raise ConfigError(f"{source}: unknown variable '{node.id:.40}'{nearest_name(node.id[:40], variables)}")
            variables[node.id] = evaluate(variables[node.id], variables, source=source, chain=chain + 1)
            return variables[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            left, right = compute(node.left), compute(node.right)
            if type(left) in (int, float) and type(right) in (int, float):
                return _OPERATORS[type(node.op)](left, right)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            operand = compute(node.operand)
            if type(operand) in (int, float):
                return -operand
        raise ConfigError(refused)

    try:
        result = compute(tree)
    except (ZeroDivisionError, OverflowError) as error:
        raise ConfigError(f"{source}: '{value:.80}' has no value") from error
    if isinstance(result, float) and not math.isfinite(result):
        raise ConfigError(f"{source}: '{value:.80}' has no finite value")
    return result


def _front_matter(text: str) -> str:
    """Return what stands between the first two lines `---` of a Markdown recipe; other text unchanged."""
    parts = re.split(r"^---\s*$", text, maxsplit=2, flags=re.MULTILINE)
    return parts[1] if len(parts) == 3 and not parts[0].strip() else text


def _modifier(entry: Any, variables: dict[str, Any], source: str) -> Config:
    if not isinstance(entry, dict) or TAG not in entry:
        raise ConfigError(f"{source}: expected '!NameOfAModifier' with its settings, got {entry!r:.60}")
    name = str(entry[TAG])
    if name not in MODIFIERS:
        raise ConfigError(f"{source}: unknown modifier '{name:.60}'{nearest_name(name[:60], MODIFIERS)}")
    source = f"{source}, {name}"
    settings = {key: evaluate(value, variables, source=source) for key, value in entry.items() if key != TAG}
    return MODIFIERS[name].parse(settings, source=source)


def _only(modifiers: list[Any], source: str) -> Any:
    if len(modifiers) != 1:
        raise ConfigError(
            f"{source}: expected one EpochRangeModifier and one GlobalMagnitudePruningModifier, "
            f"got {len(modifiers)} of one of them"
        )
    return modifiers[0]


def _check_pruning(pruning: GlobalMagnitudePruningModifier, total: EpochRangeModifier, source: str) -> None:
    expected = {"inter_func": "cubic", "mask_type": "unstructured", "leave_enabled": True}
    for name, value in expected.items():
        if getattr(pruning, name) != value:
            raise ConfigError(f"{source}: {name}: {getattr(pruning, name)!r:.40} is not supported, only {value!r}")
    if total.start_epoch != 0 or not pruning.start_epoch < pruning.end_epoch <= total.end_epoch:
        raise ConfigError(
            f"{source}: pruning from epoch {pruning.start_epoch:g} to {pruning.end_epoch:g} does not lie within "
            f"epochs {total.start_epoch:g} to {total.end_epoch:g}, which must begin at 0"
        )


def _learning_rates(
    constant: list[SetLearningRateModifier],
    falling: list[LearningRateFunctionModifier],
    pruning: GlobalMagnitudePruningModifier,
    total: EpochRangeModifier,
    source: str,
) -> dict[str, Any]:
    """Return the learning rate set at epoch 0; it must fall in the same way while pruning and while fine-tuning."""
    phases = [(pruning.start_epoch, pruning.end_epoch), (pruning.end_epoch, total.end_epoch)]
    phases = [(start, end) for start, end in phases if start < end]
    ranges = sorted((modifier.start_epoch, modifier.end_epoch) for modifier in falling)
    shapes = {(modifier.init_lr, modifier.final_lr, modifier.lr_func) for modifier in falling}
    starts = {(modifier.start_epoch, modifier.learning_rate) for modifier in constant}
    if not _same(ranges, phases) or len(shapes) != 1 or starts - {(0.0, next(iter(shapes))[0])}:
        raise ConfigError(
            f"{source}: expected the learning rate set at epoch 0 to fall by one LearningRateFunctionModifier while "
            "pruning and by an equal one while fine-tuning, as in the paper's prun.yaml"
        )
    ((first, final, decay),) = shapes
    return {"learning_rate": first, "final_learning_rate": final, "decay": decay}


def _same(ranges: list[tuple[float, float]], phases: list[tuple[float, float]]) -> bool:
    return len(ranges) == len(phases) and all(
        math.isclose(ours, theirs, abs_tol=1e-6)
        for one, other in zip(ranges, phases, strict=True)
        for ours, theirs in zip(one, other, strict=True)
    )


def _our_names(params: str | list[str], parameters: Sequence[str], stages: int, source: str) -> tuple[str, ...]:
    """Translate the authors' names, `re:...` expressions or `__ALL_PRUNABLE__` to our names, in the network's order."""
    theirs = {reference_name(name, stages=stages): name for name in parameters}
    chosen: set[str] = set()
    for wanted in [params] if isinstance(params, str) else params:
        if wanted == ALL_PRUNABLE:
            chosen.update(parameters)
        elif wanted.startswith("re:"):
            pattern = _expression(wanted.removeprefix("re:"), source)
            matching = {ours for name, ours in theirs.items() if pattern.match(name)}
            if not matching:
                raise ConfigError(f"{source}: params: '{wanted:.80}' fits no parameter of the network")
            chosen.update(matching)
        elif wanted in theirs:
            chosen.add(theirs[wanted])
        elif not is_dead(wanted, stages=stages):
            raise ConfigError(
                f"{source}: params: the network has no '{wanted:.80}'{nearest_name(wanted[:80], theirs)[:160]}"
            )
    if not chosen:
        raise ConfigError(f"{source}: params: none of them takes part in the network's forward pass")
    return tuple(name for name in parameters if name in chosen)


def _expression(text: str, source: str) -> re.Pattern[str]:
    if len(text) > MAX_EXPRESSION or len(_REPETITION.findall(text)) > MAX_REPETITIONS or _REPEATED_GROUP.search(text):
        raise ConfigError(
            f"{source}: params: 're:{text:.60}' is too long, repeats a group, or more than {MAX_REPETITIONS} times"
        )
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"{source}: params: 're:{text:.60}' is not a regular expression ({error})") from error
