"""`embedded-vit page` and `export --html`: what is written, and what is refused before any work is done."""

from __future__ import annotations

import importlib
import re
import zipfile
from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from embedded_vit.page import assembling

REPOSITORY = Path(__file__).resolve().parents[2]
RunVerb = Callable[..., tuple[int, str, str]]
IMPORTED = re.compile(r'from "(\.[^"]+)"')
MOST_LINES = 400  # of a file, as in Python


@pytest.fixture
def small_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template of two places, so that pages can be written where no npm is."""
    path = tmp_path / "template.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(assembling.PAGE, "<p><!--facts.json--></p><p><!--model.onnx--></p>")
    monkeypatch.setattr(assembling, "TEMPLATE", path)


@pytest.mark.usefixtures("small_template")
def test_a_page_holds_the_facts_and_the_model(
    run_verb: RunVerb, make_artifact: Callable[..., Path], tmp_path: Path
) -> None:
    model = make_artifact(name="a.onnx")
    status, output, _ = run_verb("page", model, "-o", tmp_path / "page.html")
    assert status == 0
    assert "page.html" in output
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert re.search(r'"name": "threshold"', page)
    assert '"is_int8": false' in page
    assert "<!--" not in page
    status, _, error = run_verb("page", model, "-o", tmp_path / "page.html")
    assert (status, error.count("\n")) == (2, 1)
    assert "exists already" in error
    assert run_verb("page", model, "-o", tmp_path / "page.html", "--overwrite")[0] == 0


@pytest.mark.usefixtures("small_template")
@pytest.mark.parametrize(("output", "message"), [("page.txt", "ends in .html"), ("page", "ends in .html")])
def test_another_name_is_refused(
    run_verb: RunVerb, make_artifact: Callable[..., Path], output: str, message: str, tmp_path: Path
) -> None:
    status, _, error = run_verb("page", make_artifact(), "-o", tmp_path / output)
    assert (status, error.count("\n")) == (2, 1)
    assert message in error


@pytest.mark.usefixtures("small_template")
def test_a_damaged_model_is_refused(run_verb: RunVerb, make_artifact: Callable[..., Path], tmp_path: Path) -> None:
    model = make_artifact()
    model.write_bytes(model.read_bytes()[:-20])
    status, _, error = run_verb("page", model, "-o", tmp_path / "page.html")
    assert status == 2
    assert not (tmp_path / "page.html").exists()
    assert error.count("\n") == 1


@pytest.mark.parametrize("verb", [("page", "MODEL"), ("export", "RUN", "--output", "model.onnx")])
def test_without_the_template_the_verb_says_why_in_one_line(
    verb: tuple[str, ...], run_verb: RunVerb, make_artifact: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(assembling, "TEMPLATE", tmp_path / "none.zip")
    monkeypatch.chdir(tmp_path)
    option = "--output" if verb[0] == "page" else "--html"
    words = [str(make_artifact()) if word == "MODEL" else word for word in verb]
    status, _, error = run_verb(*words, option, tmp_path / "page.html")
    assert status == 2
    assert error.count("\n") == 1
    assert "npm" in error


def test_without_npm_the_page_is_not_checked_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "web")
    building = importlib.import_module("build_page")
    monkeypatch.setattr(building, "npm", lambda: None)
    assert building.lint_page()
    assert capsys.readouterr().err == "no npm: the page in web/ was not checked by tsc and eslint\n"
    monkeypatch.setattr(building, "npm", lambda: ["false"])
    assert not building.lint_page()


def test_files_of_the_page_are_short() -> None:
    files = [path for suffix in ("ts", "mjs", "css") for path in (REPOSITORY / "web").glob(f"src/**/*.{suffix}")]
    files += list((REPOSITORY / "web").glob("*.mjs"))
    assert len(files) > 20
    assert [path.name for path in files if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES] == []


def test_files_of_the_page_do_not_import_each_other_in_a_circle() -> None:
    graph = {
        path: {(path.parent / f"{name}.ts").resolve() for name in IMPORTED.findall(path.read_text(encoding="utf-8"))}
        for path in (REPOSITORY / "web" / "src").rglob("*.ts")
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(path.name for path in error.args[1])}")
