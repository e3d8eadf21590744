"""Small files cut after every byte, large ones at many: refused, or read as if they were whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
from artifact_fixtures import threshold_graph, threshold_manifest
from dicom_fixtures import make_slice
from PIL import Image

from embedded_vit.artifact.manifest import read_artifact, sealed
from embedded_vit.errors import EmbeddedVitError
from embedded_vit.io.scan_source import open_scan
from faults.row import Outcome


def voxels(path: Path) -> bytes:
    """Read a scan: its intensities and its place."""
    with open_scan(path) as source:
        volume = source.read()
    return volume.array.tobytes() + np.asarray(volume.affine).tobytes()


def network(path: Path) -> bytes:
    """Read a model file."""
    content, manifest = read_artifact(path)
    return content + manifest.model_dump_json().encode()


def series(path: Path) -> bytes:
    """Read the series that the file is alone in."""
    return voxels(path.parent)


def small_files(folder: Path) -> Iterator[tuple[Path, Callable[[Path], bytes]]]:
    """Write one small file of each kind; yield it and what reads it."""
    random = np.random.default_rng(0)
    array = random.normal(0, 300, (7, 6, 5)).astype(np.int16)
    for name in ("a.nii", "b.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(array, np.diag([-1.5, -1.5, 4, 1])), folder / name)
        yield folder / name, voxels
    graph = threshold_graph().SerializeToString()
    (folder / "model.onnx").write_bytes(sealed(graph, threshold_manifest(graph)))
    yield folder / "model.onnx", network
    picture = Image.fromarray(random.integers(0, 255, (12, 10)).astype(np.uint8))
    for name in ("c.png", "c.tif", "c.bmp"):
        picture.save(folder / name)
        yield folder / name, voxels
    (folder / "series").mkdir()
    make_slice(random.normal(0, 40, (8, 8)).astype(np.int16)).save_as(
        folder / "series" / "slice", enforce_file_format=True
    )
    yield folder / "series" / "slice", series


def large_file(folder: Path) -> Path:
    """Write a compressed scan of some hundred kilobytes."""
    array = np.random.default_rng(1).normal(0, 300, (96, 96, 24)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([-1.5, -1.5, 4, 1])), folder / "large.nii.gz")
    return folder / "large.nii.gz"


def cut(path: Path, read: Callable[[Path], bytes], lengths: Iterator[int] | range, outcome: Outcome) -> None:
    """Cut a file to each length and read it; put it back."""
    content, whole = path.read_bytes(), read(path)
    for length in lengths:
        path.write_bytes(content[:length])
        try:
            good, what = read(path) == whole, "another result"
        except EmbeddedVitError as error:
            good, what = "\n" not in str(error), "more than one line"
        except Exception as error:
            good, what = False, f"{type(error).__name__}: {error!s:.100}"
        outcome.count(good=good, message=f"{path.name} cut after {length} of {len(content)} bytes: {what}")
    path.write_bytes(content)


def truncated(count: int, folder: Path) -> Outcome:
    """Cut small files at a share of their bytes, at all of them where `count` allows, and a large one at random."""
    outcome = Outcome()
    small = [(path, read, len(path.read_bytes())) for path, read in small_files(folder)]
    total = sum(size for *_, size in small)
    for path, read, size in small:
        cut(path, read, range(0, size, max(1, round(total / count))), outcome)
    large = large_file(folder)
    random = np.random.default_rng(2)
    offsets = random.integers(0, large.stat().st_size, max(3, min(1000, count // 10)))
    cut(large, voxels, iter(offsets.tolist()), outcome)
    return outcome
