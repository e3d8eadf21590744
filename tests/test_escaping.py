"""Names that a terminal or a page would obey, through every verb: nothing of them is printed or written as it is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from embedded_vit.columns import csv_text, in_columns
from embedded_vit.printable import bar_text, printable, printable_text

CASE = "case\x1b[31m\nred\u202e[b]"
LABEL = "li\x1b[2Jver\n<b>\x9b31m$\\frac{$|"
FOLDER = "set\x1b]0;title\x07\r"

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="Windows has no files of such names"),
    pytest.mark.filterwarnings("ignore:Cyclopts application invoked:UserWarning"),
    pytest.mark.filterwarnings("ignore:Glyph:UserWarning"),
]
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(run_verb: Callable[..., tuple[int, str, str]]) -> Run:
    """Run a verb; check that every line that it prints holds nothing to obey, and return status and all output."""

    def run(*arguments: object) -> tuple[int, str]:
        status, *streams = run_verb(*arguments)
        said = "\n".join(streams)
        assert [line for line in said.split("\n") if not line.isprintable()] == []
        return status, said

    return run


@pytest.fixture(scope="module")
def top(nnunet_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose folder, cases and structures have such names."""
    top = tmp_path_factory.mktemp("escaping")
    data = Path(shutil.copytree(nnunet_folder, top / FOLDER))
    for path in list(data.glob("*T?/phantom*")):
        path.rename(path.with_name(path.name.replace("phantom", CASE)))
    description = json.loads((data / "dataset.json").read_text())
    labels = dict(description["labels"])
    labels[LABEL] = labels.pop("liver")
    (data / "dataset.json").write_text(json.dumps(description | {"labels": labels}))
    return top


def test_every_verb_escapes_names(run: Run, top: Path) -> None:
    data, made, model, quick = top / FOLDER, top / "run\x1b[1m", top / "model\x1b[1m.onnx", ("--threads", 1)
    status, said = run("data", data)
    assert (status, printable(LABEL) in said, printable(CASE) in said) == (0, True, True)
    sizes = ("--image-size", 32, "--widths", 8, 16, "--depth", 1)
    few = ("--epochs", 1, "--validation-cases", 0, *sizes, *quick)
    assert run("train", "--data", data, "-o", made, "--family", "dual", *few)[0] == 0
    assert run("train", "--data", data, "-o", made, *few)[0] == 2  # it exists
    assert run("export", made, "-o", model, "--test-vectors", top / "vectors\x1b")[0] == 0
    assert run("info", made)[0] == 0
    assert printable(LABEL) in run("info", model)[1]
    status, said = run("info", model, "--json")
    assert LABEL in json.loads(said[: said.rindex("}") + 1])["labels"]["labels"][4]["name"]
    status, said = run("predict", model, data, "-o", top / "masks", "--force", *quick)
    assert (status, printable(CASE) in said) == (0, True)
    assert run("predict", model, data, "-o", top / "masks", *quick)[0] == 0
    status, said = run("evaluate", made, "--data", data, "-o", top / "scores\x1b", "--split", "all", *quick)
    assert (status, printable(LABEL) in said) == (0, True)
    plan = top / "plan\x1b.yaml"
    plan.write_text(
        "steps:\n  - prune_weights: {sparsity: 0.5, stabilise_epochs: 0, prune_epochs: 1, finetune_epochs: 0}\n"
    )
    assert run("compress", made, "--plan", plan, "-o", top / "small\x1b", *quick)[0] == 0
    assert run("report", top / "small\x1b", "-o", top / "report\x1b.html")[0] == 0
    assert run("benchmark", model, *quick, "--seconds", 0.5, "-o", top / "latency\x1b.json")[0] == 0
    search = ("--budget", "macs=1", "--trials", 1, "--image-sizes", 64, *quick)
    assert run("search", "--data", data, "-o", top / "search\x1b", *search)[0] == 0
    assert run("phantom", top / "made\x1b", "--cases", 2, "--size", 64, "--slices", 8)[0] == 0
    for wrong in (("info", top / "gone\x1b"), ("models", "x\x1b"), ("predict", "x\x1b", "-o"), ("\x1b",), ("data",)):
        assert run(*wrong)[0] == 2
    _check_files(top)


def _check_files(top: Path) -> None:
    """Check that no page and no table holds a control character, and that they name the structure nevertheless."""
    pages = [path for path in top.rglob("*") if path.suffix in (".html", ".md", ".csv")]
    assert {path.name for path in pages} >= {"report.html", "cases.csv", "report\x1b.html", "report\x1b.md"}
    for path in pages:
        text = path.read_bytes().decode()
        assert [line for line in text.split("\n") if not line.isprintable()] == [], path
        assert path.suffix != ".html" or "<b>\\x9b" not in text, path
    report = (top / "scores\x1b" / "report.html").read_text()
    assert r"li\x1b[2Jver\n&lt;b&gt;\x9b31m$\frac{$|" in report
    assert r"case\x1b[31m\nred\u202e[b]" in report


def test_lines_and_cells_stay_where_they_are() -> None:
    assert printable_text(["a\nb", "c"]) == "a\\nb\nc"
    assert in_columns([("\x1b", "x"), ("long", "y")]) == [r"\x1b  x", "long  y"]
    assert csv_text(["na\nme", "n"], [{"na\nme": 'a"\x1b,', "n": 1.5}]) == 'na\\nme,n\n"a""\\x1b,",1.5\n'


def test_a_bar_shows_brackets_as_they_are() -> None:
    console = Console(force_terminal=True, width=80, record=True)
    with Progress(console=console) as progress:
        progress.add_task(bar_text("[/x] [red]\x1b"), total=1)
        progress.refresh()
    assert r"[/x] [red]\x1b" in console.export_text()
