"""Nobody outside `io/` looks at what the name of a scan's file ends with; they ask `io`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import embedded_vit
from embedded_vit.io.scan_source import FORMATS
from embedded_vit.io.transunet import SLICE_SUFFIX

PACKAGE = Path(embedded_vit.__file__).parent
# Without png: charts and overlays are written everywhere; whether a picture is a scan is asked in io/.
OF_SCANS = {part for kind in FORMATS for suffix in kind.suffixes for part in suffix.split(".") if part}
ENDINGS = sorted((OF_SCANS | {SLICE_SUFFIX.removeprefix("."), "dcm", "mha", "nrrd"}) - {"png"})
IN_A_NAME = re.compile(rf"\.({'|'.join(ENDINGS)})\b")
EXAMPLE = re.compile(r"\b[A-Z0-9_]+(\.[a-z0-9]+)+")  # SCAN.nii.gz in a message; a name that is made is not in capitals
SCANS_PASS_HERE = ("cli", "datasets", "evaluation", "predict", "training")  # other folders have files of other kinds


def docstrings(tree: ast.Module) -> set[int]:
    """Return the ids of the nodes that are docstrings."""
    places = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, places)]
    return {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}


def suffixes_looked_at(source: str) -> Iterator[str]:
    """Return the code of a module that names a scan's suffix or splits a path at its dots."""
    tree = ast.parse(source)
    left_out = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            if IN_A_NAME.search(EXAMPLE.sub("", node.value)):
                yield f"line {node.lineno}: {node.value!r}"
        elif isinstance(node, ast.Attribute) and node.attr in ("suffix", "suffixes", "stem"):
            yield f"line {node.lineno}: .{node.attr}"


MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("io/")])
def test_no_module_outside_io_looks_at_suffixes(module: str) -> None:
    found = list(suffixes_looked_at((PACKAGE / module).read_text(encoding="utf-8")))
    if not module.startswith(SCANS_PASS_HERE):
        found = [place for place in found if not place.endswith((".suffix", ".suffixes", ".stem"))]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "x = path.suffix == '.png'",
        "x = path.name.endswith('.nii.gz')",
        "x = f'{case}.nii.gz'",
        "x = folder.glob('*.npz')",
        "x = name.removesuffix('.gz')",
        "x = path.suffixes",
        "x = (b, '.npy.h5')",
    ],
)
def test_looking_is_noticed(code: str) -> None:
    assert list(suffixes_looked_at(code))


@pytest.mark.parametrize("code", ["'''A .nii.gz file.'''", "print('give SCAN.nii.gz')", "x = '.json'"])
def test_examples_for_people_and_other_files_are_left_alone(code: str) -> None:
    assert not list(suffixes_looked_at(code))
