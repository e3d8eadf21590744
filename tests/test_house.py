"""The house rules that a program can check: who imports whom, and how long files and functions are."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "embedded_vit"
CODE_FOLDERS = ("src", "factory", "benchmarks", "paper", "release", "integrations")

# Single modules, bottom to top. Each may import those before it; every folder may import all of them.
FOUNDATION = (
    "about",
    "printable",
    "counted",
    "errors",
    "boundary",
    "lazy",
    "columns",
    "fresh_python",
    "quiet",
    "config",
    "labels",
    "slicing",
    "volume",
    "grids",
    "hounsfield",
    "resampling",
    "field_of_view",
    "preprocessing",
    "fingerprint",
    "postprocessing",
    "mask_figures",
    "plausibility",
    "contract",
    "overlay",
    "pareto",
    "provenance",
)

# Folders, bottom to top, and the folders that each may import. Nobody imports what stands further down in this table.
FOLDERS: dict[str, tuple[str, ...]] = {
    "io": (),
    "artifact": (),
    "engines": ("io", "artifact"),
    "predict": ("io", "artifact", "engines"),
    "clinic": ("io", "predict"),
    "node": ("io", "artifact", "predict", "clinic"),
    "datasets": ("io",),
    "layers": (),
    "models": ("layers",),
    "training": ("io", "datasets", "layers", "models"),
    "export": ("io", "artifact", "engines", "predict", "datasets", "layers", "models", "training"),
    "costs": ("io", "artifact", "engines", "predict", "layers", "models"),
    "evaluation": ("io", "artifact", "engines", "predict", "datasets", "training"),
    "compression": (
        *("io", "artifact", "engines", "datasets", "layers", "models", "training", "export", "costs", "evaluation"),
    ),
    "search": ("io", "engines", "datasets", "models", "training", "export", "costs", "evaluation"),
    "benchmark": ("io", "artifact", "engines", "predict", "datasets", "costs", "evaluation"),
    "planning": ("io", "engines", "datasets", "models", "training", "export", "costs"),
    "build": (
        *("io", "artifact", "engines", "datasets", "models", "training", "export", "costs", "evaluation"),
        *("compression", "planning"),
    ),
    "report": ("io", "engines", "predict", "datasets", "training", "export", "costs", "evaluation", "compression"),
    "builtin": ("io", "artifact", "costs"),
    "page": ("io", "artifact", "builtin"),
    "cli": (
        *("engines", "predict", "clinic", "node", "datasets", "models", "training", "export", "costs", "evaluation"),
        *("compression", "search", "benchmark", "planning", "build", "report", "builtin", "page"),
    ),
}
TOP = {"__init__": ("engines", "predict", "builtin"), "__main__": ("cli",)}

# Only these folders may import these libraries, lazily or not: `io` reads, `clinic` draws and writes DICOM.
LIBRARY_HOMES = {"onnxruntime": {"engines"}, "openvino": {"engines"}, "ai_edge_litert": {"engines"},
                 "pydicom": {"io", "clinic"}, "PIL": {"io", "clinic"}, "SimpleITK": {"io"},
                 "highdicom": {"io", "clinic"}, "ray": {"predict"}, "pynetdicom": {"node"}}  # fmt: skip
LIBRARIES_ELSEWHERE = {"onnxruntime in compression"}  # its quantization tool; see tests/engines/test_one_door.py

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60
LINES_THAT_STAND_TWICE = 6


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((REPOSITORY / folder).rglob("*.py"))


def imported_modules(path: Path) -> Iterator[str]:
    """Yield the full names of all modules that a file imports, inside functions and under TYPE_CHECKING too."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "embedded_vit":
                yield from (f"embedded_vit.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


def imported_names(path: Path) -> Iterator[str]:
    """Yield the full names of all modules that a file imports, and of all that it imports out of packages."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def unit_of(path: Path) -> str:
    """Return the folder of a file, or the file's own name if it lies in the package root."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def arrows() -> dict[str, set[str]]:
    """Return each unit with the units that it imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        for module in imported_modules(path):
            library, _, rest = module.partition(".")
            if library == "embedded_vit":
                found[unit_of(path)].add(rest.partition(".")[0])
    return {unit: found[unit] - {unit} for unit in (*FOUNDATION, *FOLDERS, *TOP)}


def test_the_table_of_arrows_has_no_arrow_upwards() -> None:
    order = list(FOLDERS)
    for folder, below in FOLDERS.items():
        assert set(below) <= set(order[: order.index(folder)]), folder


def test_every_folder_is_in_the_table() -> None:
    units = {unit_of(path) for path in PACKAGE.rglob("*.py")}
    assert units <= {*FOUNDATION, *FOLDERS, *TOP}


def test_imports_run_along_the_allowed_arrows() -> None:
    allowed = {unit: set(FOUNDATION[:place]) for place, unit in enumerate(FOUNDATION)}
    allowed |= {unit: {*FOUNDATION, *below} for unit, below in (FOLDERS | TOP).items()}
    wrong = {f"{unit} -> {target}" for unit, targets in arrows().items() for target in targets - allowed[unit]}
    assert not wrong


def test_the_table_holds_no_arrow_that_nobody_draws() -> None:
    drawn = arrows()
    assert {unit: set(below) - drawn[unit] for unit, below in (FOLDERS | TOP).items() if set(below) - drawn[unit]} == {}


def test_no_files_import_each_other_in_a_circle() -> None:
    """Not even inside functions; a name that a package hands on counts for the file that defines it."""
    home = {}
    for face in PACKAGE.rglob("*/__init__.py"):
        package = ".".join(["embedded_vit", *face.parent.relative_to(PACKAGE).parts])
        for node in ast.walk(tree_of(face)):
            if isinstance(node, ast.ImportFrom):
                home |= {f"{package}.{alias.name}": str(node.module) for alias in node.names}
    graph: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        if path.name != "__init__.py":
            name = ".".join(["embedded_vit", *path.relative_to(PACKAGE).with_suffix("").parts])
            graph[name] = {home.get(imported, imported) for imported in imported_names(path)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_nothing_imports_the_package_root() -> None:
    for path in sources("src"):
        if "embedded_vit" in imported_modules(path) or "embedded_vit." in imported_modules(path):
            pytest.fail(f"{path}: imports the package root; import the module that defines what you need")


def test_a_library_is_imported_in_one_folder_only() -> None:
    wrong = {
        f"{module.partition('.')[0]} in {unit_of(path)}"
        for path in PACKAGE.rglob("*.py")
        for module in imported_modules(path)
        if unit_of(path) not in LIBRARY_HOMES.get(module.partition(".")[0], {unit_of(path)})
    }
    assert wrong <= LIBRARIES_ELSEWHERE


def test_files_are_short() -> None:
    long = {
        str(path.relative_to(REPOSITORY))
        for path in sources(*CODE_FOLDERS)
        if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES_OF_A_FILE
    }
    assert not long


def test_functions_are_short() -> None:
    long = {
        f"{path.relative_to(REPOSITORY)}: {node.name}"
        for path in sources(*CODE_FOLDERS)
        for node in ast.walk(tree_of(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno + 1 > MOST_LINES_OF_A_FUNCTION
    }
    assert not long


def code_lines(path: Path) -> list[str]:
    """Lines without indentation; blank lines, comments, imports and lines of one bracket do not count."""
    imports = {
        line
        for node in ast.walk(tree_of(path))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = enumerate(map(str.strip, path.read_text(encoding="utf-8").splitlines()), start=1)
    return [line for number, line in lines if len(line) > 1 and not line.startswith("#") and number not in imports]


def test_no_six_lines_stand_twice() -> None:
    places: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path in sources(*CODE_FOLDERS):
        lines = code_lines(path)
        for start in range(len(lines) - LINES_THAT_STAND_TWICE + 1):
            places[tuple(lines[start : start + LINES_THAT_STAND_TWICE])].append(path.name)
    twins = {" ".join(sorted(set(names))): lines for lines, names in places.items() if len(names) > 1}
    assert not twins


def test_no_two_test_files_have_one_name() -> None:
    """Pytest imports test files by their names, and stops where two are the same."""
    names = [path.name for path in sources("tests") if path.name.startswith("test_")]
    assert {name for name in names if names.count(name) > 1} == set()


def test_only_one_module_prints() -> None:
    """What the verbs print goes through `cli/showing.py`, which escapes it."""
    wrong = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert wrong == {"cli/showing.py"}
