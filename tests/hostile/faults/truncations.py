"""Small files cut after every byte, large ones at a thousand places: refused, or read as if they were whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import nibabel
import numpy as np
from artifact_fixtures import threshold_graph, threshold_manifest
from build_fixtures import write_tiny_plan
from mutate import dicom_file, itk_file
from network_fixtures import made_run
from onnx import numpy_helper
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from embedded_vit.artifact.manifest import read_artifact, sealed
from embedded_vit.compression.plan import built_in_plans, read_plan
from embedded_vit.datasets import PhantomSettings, open_data_set, write_phantoms
from embedded_vit.errors import EmbeddedVitError
from embedded_vit.io.scan_source import open_scan
from embedded_vit.io.transunet import read_h5_labels
from embedded_vit.models.registry import network_config
from embedded_vit.planning.build_plan import PLAN_FILE, BuildPlan
from embedded_vit.training.checkpoint import CONFIG, MODEL, RECORD, load_tensors, read_record, read_run_config
from faults.row import Outcome

LARGE_CUTS = 1000
SMALL_BYTES = 8 * 1024  # up to here a file is cut after every byte
Read = Callable[[Path], bytes]


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


def described(path: Path) -> bytes:
    """Read the description of a data set."""
    data_set = open_data_set(path.parent)
    return repr((data_set.modality, data_set.channels, data_set.labels, data_set.cases)).encode()


def tensors(path: Path) -> bytes:
    """Read weights."""
    return b"".join(name.encode() + tensor.numpy().tobytes() for name, tensor in sorted(load_tensors(path).items()))


def files(folder: Path) -> Iterator[tuple[Path, Read]]:
    """Write one file of each kind; yield it and what reads it."""
    yield from scans(folder)
    yield from pictures_and_series(folder)
    yield from model_files(folder)
    yield from run_and_plans(folder)
    for layout in ("decathlon", "nnunet", "transunet"):
        write_phantoms(folder / layout, 3, layout=layout, settings=PhantomSettings(size=32, slices=8))  # type: ignore[arg-type]
    yield folder / "decathlon" / "dataset.json", described
    yield folder / "nnunet" / "dataset.json", described
    yield next((folder / "transunet" / "test_vol_h5").iterdir()), lambda path: voxels(path) + masks(path)


def masks(path: Path) -> bytes:
    """Read the mask of an HDF5 file."""
    return read_h5_labels(path).array.tobytes()


def scans(folder: Path) -> Iterator[tuple[Path, Read]]:
    """Write volumes: small ones, and a compressed one of some hundred kilobytes."""
    random = np.random.default_rng(0)
    for name, shape in (("a.nii", (7, 6, 5)), ("b.nii.gz", (7, 6, 5)), ("large.nii.gz", (96, 96, 24))):
        array = random.normal(0, 300, shape).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(array, np.diag([-1.5, -1.5, 4, 1])), folder / name)
        yield folder / name, voxels
    if find_spec("SimpleITK"):
        for name in ("scan.nrrd", "scan.mha"):
            (folder / name).write_bytes(itk_file(name))
            yield folder / name, voxels
        header, _, written = itk_file("scan.mha").partition(b"ElementDataFile = LOCAL\n")
        (folder / "apart.mhd").write_bytes(header + b"ElementDataFile = apart.zraw\n")
        (folder / "apart.zraw").write_bytes(written)
        yield folder / "apart.mhd", voxels
        yield folder / "apart.zraw", lambda path: voxels(path.with_suffix(".mhd"))


def pictures_and_series(folder: Path) -> Iterator[tuple[Path, Read]]:
    """Write pictures, and slices of DICOM that are alone in their series, two of them compressed."""
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (12, 10)).astype(np.uint8))
    for name in ("c.png", "c.jpg", "c.tif", "c.bmp"):
        picture.save(folder / name)
        yield folder / name, voxels
    for syntax in (ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless):
        (folder / syntax.name).mkdir()
        (folder / syntax.name / "slice").write_bytes(dicom_file(syntax))
        yield folder / syntax.name / "slice", series


def model_files(folder: Path) -> Iterator[tuple[Path, Read]]:
    """Write a model file that is small, and one with some hundred kilobytes of weights."""
    for name, weights in (("small.onnx", 0), ("large.onnx", 100_000)):
        model = threshold_graph()
        values = np.random.default_rng(2).normal(size=weights).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, "weights"))
        graph = model.SerializeToString()
        (folder / name).write_bytes(sealed(graph, threshold_manifest(graph)))
        yield folder / name, network


def run_and_plans(folder: Path) -> Iterator[tuple[Path, Read]]:
    """Write a run folder, and plans in JSON, which YAML reads too: one in blocks is right wherever a line ends."""
    run = made_run(folder / "run", network_config(image_size=32, family="unet", widths=(8, 16), classes=9))
    yield run / CONFIG, lambda path: read_run_config(path.parent).model_dump_json().encode()
    yield run / RECORD, lambda path: read_record(path.parent).model_dump_json().encode()
    yield run / MODEL, tensors
    compression = folder / "compression.yaml"
    compression.write_text(json.dumps(read_plan(built_in_plans()["embedded-cpu"]).plain()))
    yield compression, lambda path: json.dumps(read_plan(path).plain()).encode()
    write_phantoms(folder / "planned", 3, layout="nnunet", settings=PhantomSettings(size=32, slices=8))
    plan = write_tiny_plan(folder / "planned", folder / "plan") / PLAN_FILE
    plan.write_text(BuildPlan.read(plan).model_dump_json())
    yield plan, lambda path: BuildPlan.read(path).model_dump_json().encode()


def cut(path: Path, read: Read, lengths: Iterable[int], outcome: Outcome) -> None:
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
        place = path.relative_to(path.parents[1])
        outcome.count(good=good, message=f"{place} cut after {length} of {len(content)} bytes: {what}")
    path.write_bytes(content)


def truncated(count: int, folder: Path) -> Outcome:
    """Cut files at a share of all places, at all of them where `count` allows."""
    outcome, random = Outcome(), np.random.default_rng(2)
    found = [(path, read, places(path.stat().st_size, random)) for path, read in files(folder)]
    step = max(1, round(sum(len(lengths) for *_, lengths in found) / count))
    for path, read, lengths in found:
        cut(path, read, lengths[::step], outcome)
    return outcome


def places(size: int, random: np.random.Generator) -> list[int]:
    """Return where a file of so many bytes is cut."""
    if size <= SMALL_BYTES:
        return list(range(size))
    drawn: list[int] = random.integers(0, size, LARGE_CUTS).tolist()
    return drawn
