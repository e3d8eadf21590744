"""Nobody outside `engines/` names an engine's library, module or class, so a new engine touches that folder only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded_vit.engines.registry import ENTRIES

REPOSITORY = Path(__file__).resolve().parents[2]
ENGINES_FOLDER = REPOSITORY / "src" / "embedded_vit" / "engines"
# The tool that makes an int8 graph of a float one. It computes no network for a user, so it is not an engine.
QUANTIZATION_TOOL = ("src/embedded_vit/compression/steps/integer_graph.py", "onnxruntime.quantization")
LIBRARIES = {entry.library for entry in ENTRIES.values()}
CLASSES = {entry.engine.partition(":")[2] for entry in ENTRIES.values()} | {"TorchEngine"}
MODULES = {f"embedded_vit.engines.{entry.engine.partition(':')[0]}" for entry in ENTRIES.values()}
MODULES |= {"embedded_vit.engines.torch"}


def sources() -> Iterator[Path]:
    for folder in ("src", "factory", "benchmarks", "paper"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            if ENGINES_FOLDER not in path.parents:
                yield path


def names_in(tree: ast.Module) -> Iterator[str]:
    """Return the full names of all imports of a file, and every identifier that it uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def belongs_to_an_engine(name: str) -> bool:
    in_library = name.partition(".")[0] in LIBRARIES
    in_module = any(f"{name}.".startswith(f"{module}.") for module in MODULES)
    return in_library or in_module or name.rpartition(".")[2] in CLASSES


def test_nobody_else_names_an_engine_s_library_module_or_class() -> None:
    found = [
        (str(path.relative_to(REPOSITORY)), name)
        for path in sources()
        for name in names_in(ast.parse(path.read_text(encoding="utf-8")))
        if belongs_to_an_engine(name)
    ]
    path, tool = QUANTIZATION_TOOL
    assert found
    assert [each for each in found if each[0] != path or not each[1].startswith(f"{tool}.")] == []


@pytest.mark.parametrize(
    ("line", "is_refused"),
    [
        ("import openvino", True),
        ("from onnxruntime import InferenceSession", True),
        ("from embedded_vit.engines import openvino", True),
        ("from embedded_vit.engines.litert.engine import LiteRtEngine as E", True),
        ("engines.torch.TorchEngine(network)", True),
        ("from embedded_vit.engines import load, open_graph", False),
        ("from embedded_vit.engines.single_stream import single_stream", False),
        ("open_graph(graph, 'openvino')", False),
    ],
)
def test_the_rule_sees(line: str, is_refused: bool) -> None:
    assert any(map(belongs_to_an_engine, names_in(ast.parse(line)))) is is_refused
