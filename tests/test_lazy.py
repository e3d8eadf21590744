"""Packages export their public names lazily: importing one imports nothing heavy."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import embedded_vit
from embedded_vit.lazy import lazily

SOURCE = Path(embedded_vit.__file__).parent
PACKAGES = sorted(
    ".".join(("embedded_vit", *path.parent.relative_to(SOURCE).parts)) for path in SOURCE.glob("*/**/__init__.py")
)
HEAVY = (
    "numpy",
    "torch",
    "onnxruntime",
    "openvino",
    "ai_edge_litert",
    "nibabel",
    "pydantic",
    "scipy",
    "optuna",
    "rich",
)


def package_source(package: str) -> ast.Module:
    path = SOURCE.joinpath(*package.split(".")[1:], "__init__.py")
    return ast.parse(path.read_text(encoding="utf-8"))


def names_for_mypy(tree: ast.Module) -> set[str]:
    """Return the names imported under `if TYPE_CHECKING:`."""
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name for node in imports for alias in node.names}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_export_can_be_imported_and_is_what_mypy_sees(package: str) -> None:
    module = importlib.import_module(package)
    exports = getattr(module, "__all__", [])
    assert names_for_mypy(package_source(package)) == set(exports)
    assert set(exports) <= set(dir(module))
    assert all(hasattr(module, name) for name in exports)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_export_has_the_name_of_a_module(package: str) -> None:
    folder = SOURCE.joinpath(*package.split(".")[1:])
    modules = {path.stem for path in folder.iterdir()}
    assert not modules & set(getattr(importlib.import_module(package), "__all__", []))


def imported_by(*modules: str) -> set[str]:
    """Return the modules of `HEAVY` that a fresh Python has imported after the given modules."""
    code = (
        r"import importlib, json, sys; [*map(importlib.import_module, sys.argv[1:])]; print(json.dumps([*sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout)) & set(HEAVY)


def test_importing_all_packages_imports_nothing_heavy() -> None:
    assert imported_by(*PACKAGES) == set()


def test_a_verb_imports_what_computes_when_it_is_called() -> None:
    verbs = [f"embedded_vit.cli.{path.stem}" for path in (SOURCE / "cli").glob("*.py") if path.stem != "__init__"]
    assert imported_by(*verbs) <= {"cyclopts", "rich"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    module = importlib.import_module("embedded_vit.datasets")
    with pytest.raises(AttributeError, match=r"module 'embedded_vit\.datasets' has no attribute 'open_data_sets'"):
        _ = module.open_data_sets


def test_a_module_and_an_export_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="exports 'search', which is also one of its modules"):
        lazily("embedded_vit.search", {"search": ["search"]})
    with pytest.raises(ValueError, match="exported twice"):
        lazily("embedded_vit.search", {"record": ["name"], "space": ["name"]})
