"""Data that many tests share, made once a session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks; several spinning threads are slow on a busy machine

import pytest

from embedded_vit.datasets.phantom import PhantomSettings
from embedded_vit.datasets.phantom_writer import Layout, write_phantoms

pytest_plugins = ("artifact_fixtures", "builtin_fixtures")

SMALL = PhantomSettings(size=96, slices=12)


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the cache of engines out of the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder `shared` beside the repository, with real data; tests that ask for it are skipped without it."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data: {folder / 'data'} is not there")
    return folder


def _phantoms(factory: pytest.TempPathFactory, layout: Layout, cases: int) -> Path:
    folder = factory.mktemp("phantoms") / layout
    write_phantoms(folder, cases, layout=layout, settings=SMALL, seed=1)
    return folder


@pytest.fixture(scope="session")
def synapse_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six phantoms of 12 x 96 x 96 voxels in TransUNet's layout: case0001 to 4 train, case0005 and 6 test."""
    return _phantoms(tmp_path_factory, "transunet", 6)


@pytest.fixture(scope="session")
def decathlon_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four phantoms of 12 x 96 x 96 voxels as a task of the Medical Segmentation Decathlon, stored LPS."""
    return _phantoms(tmp_path_factory, "decathlon", 4)


@pytest.fixture(scope="session")
def nnunet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four phantoms of 12 x 96 x 96 voxels as an nnU-Net v2 raw data set, stored LPS: three train, one tests."""
    return _phantoms(tmp_path_factory, "nnunet", 4)
