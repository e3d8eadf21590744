"""A bundle installs where there is no internet, and says what is wrong with it or with the computer."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pip_fixtures import pip

REPOSITORY = Path(__file__).resolve().parents[2]
pytest.importorskip("packaging")
pytest.importorskip("tomllib")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no bundles for it")


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(REPOSITORY / "release"))
    import bundle

    return bundle


def installed(folder: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Run the script of a bundle where no index can be reached."""
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_CONFIG_FILE": os.devnull, "PYTHONPATH": ""}
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(
        [str(folder / "install.sh"), str(target)],
        env=variables | nowhere | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


def without_pip(bundle: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, **wanted: str) -> Path:
    """Make a bundle whose only wheel is empty."""

    def download(arguments: list[str]) -> None:
        Path(arguments[arguments.index("--dest") + 1], "embedded_vit-0.1.0-py3-none-any.whl").write_bytes(b"")

    monkeypatch.setattr(bundle, "_pip", download)
    options = {"machine": platform.machine(), "python": PYTHON, "extras": "dicom"} | wanted
    bundle.make_bundle(Path("embedded_vit.whl"), folder, **options)
    return folder


def test_a_damaged_bundle_is_refused(bundle: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = without_pip(bundle, tmp_path / "bundle", monkeypatch)
    next((folder / "wheels").iterdir()).write_bytes(b"x")
    done = installed(folder, tmp_path / "target")
    assert (done.returncode, "the bundle is damaged; copy it again" in done.stderr) == (2, True)
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("wanted", [{"python": "3.99"}, {"machine": "riscv64"}])
def test_another_computer_is_refused(
    bundle: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, str]
) -> None:
    done = installed(without_pip(bundle, tmp_path / "bundle", monkeypatch, **wanted), tmp_path / "target")
    assert done.returncode == 2
    assert "make a bundle for it" in done.stderr
    assert not (tmp_path / "target").exists()


def test_wheels_of_the_machine_are_asked_for(bundle: ModuleType) -> None:
    options = bundle._for_machine("aarch64", "3.12")
    assert {"manylinux_2_28_aarch64", "manylinux_2_35_aarch64", "manylinux2014_aarch64"} <= set(options)
    assert "--constraint" not in options  # the lock file is of another Python
    assert "--only-binary=:all:" in options


@pytest.mark.slow
def test_a_bundle_installs_without_an_index(bundle: ModuleType, tmp_path: Path) -> None:
    pip(Path(sys.prefix), "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path / "dist", REPOSITORY)
    (wheel,) = (tmp_path / "dist").iterdir()
    try:
        bundle.make_bundle(wheel, tmp_path / "bundle", machine=platform.machine(), python=PYTHON, extras="")
    except SystemExit as error:
        if "No matching distribution" in str(error):
            pytest.skip("no package index can be reached")
        raise
    done = installed(tmp_path / "bundle", tmp_path / "target")
    assert done.returncode == 0, done.stderr
    command = [tmp_path / "target" / "bin" / "embedded-vit", "models"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": ""})
    assert "abdomen-ct" in listed.stdout
