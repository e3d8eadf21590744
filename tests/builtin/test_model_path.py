"""What a user means by MODEL: a file or a built-in model, never one in the place of the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from embedded_vit.builtin.resolve import model_path
from embedded_vit.errors import ConfigError

AddBuiltin = Callable[..., Path]


@pytest.fixture(autouse=True)
def _working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_a_name_becomes_the_path_of_its_artifact(add_builtin: AddBuiltin) -> None:
    path = add_builtin("abdomen-ct")
    add_builtin("abdomen-ct-fast")
    assert model_path("abdomen-ct") == path


@pytest.mark.parametrize("text", ["./abdomen-ct", "abdomen-ct.onnx", "runs/abdomen-ct", "/abdomen-ct"])
def test_text_with_a_separator_or_a_suffix_is_a_path(add_builtin: AddBuiltin, text: str) -> None:
    add_builtin("abdomen-ct")
    assert model_path(text) == Path(text)


def test_a_path_object_is_a_path(add_builtin: AddBuiltin) -> None:
    add_builtin("abdomen-ct")
    assert model_path(Path("abdomen-ct")) == Path("abdomen-ct")


def test_what_lies_here_under_another_name_is_taken(add_builtin: AddBuiltin) -> None:
    add_builtin("abdomen-ct")
    Path("my-run").mkdir()
    assert model_path("my-run") == Path("my-run")


def test_a_name_that_is_both_is_refused_and_the_way_out_works(add_builtin: AddBuiltin) -> None:
    add_builtin("abdomen-ct")
    Path("abdomen-ct").mkdir()
    with pytest.raises(ConfigError, match=r"'abdomen-ct' is a built-in model and also .* \./abdomen-ct"):
        model_path("abdomen-ct")
    assert model_path("./abdomen-ct").is_dir()


def test_an_unknown_name_is_refused_with_the_nearest(add_builtin: AddBuiltin) -> None:
    add_builtin("abdomen-ct")
    add_builtin("hippocampus-mr")
    with pytest.raises(ConfigError, match="did you mean 'abdomen-ct'"):
        model_path("abdomen")
    with pytest.raises(ConfigError, match="known: abdomen-ct, hippocampus-mr"):
        model_path("x")


@pytest.mark.usefixtures("builtin_folder")
def test_without_any_model_it_says_so() -> None:
    with pytest.raises(ConfigError, match="none comes with this version"):
        model_path("abdomen-ct")
