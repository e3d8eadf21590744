"""Damaged files by the thousand, read in a process of its own: a crash there ends no test run and names its file.

    python tests/hostile/mutate.py KIND SEED COUNT FOLDER [FIRST]

writes what went wrong, a line each, and the number of the file at work into FOLDER/at-work, for whoever finds the
process dead.
"""

from __future__ import annotations

import gzip
import io
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import lru_cache, partial
from pathlib import Path

import nibabel
import numpy as np
from artifact_fixtures import threshold_graph, threshold_manifest
from dicom_fixtures import make_slice
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from embedded_vit.artifact.manifest import sealed
from embedded_vit.artifact.onnx_file import graph_digest
from embedded_vit.engines import load
from embedded_vit.errors import EmbeddedVitError
from embedded_vit.io.channels import FoundScan
from embedded_vit.io.scan_source import open_scan
from embedded_vit.predict.bulk.case import Case
from embedded_vit.predict.bulk.case_queue import MANIFEST, CaseQueue

SECONDS_LIMIT = 2.0  # of this process, so that a busy machine fails nothing
LARGE_NETWORK_SECONDS = 10.0  # a configuration may ask for one that is built
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF)


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """Flip bits, overwrite, cut, insert, repeat or truncate, once or a few times."""
    damaged = bytearray(content)
    for _ in range(int(random.integers(1, 5))):
        if not damaged:
            break
        start = int(random.integers(len(damaged)))
        stop = min(len(damaged), start + int(random.integers(1, 17)))
        match random.integers(6):
            case 0:
                damaged[start] ^= 1 << int(random.integers(8))
            case 1:
                damaged[start:stop] = bytes([random.choice(EXTREMES)]) * (stop - start)
            case 2:
                del damaged[start:stop]
            case 3:
                damaged[start:start] = random.bytes(stop - start)
            case 4:
                damaged[start:start] = damaged[start:stop]
            case _:
                del damaged[start:]
    return bytes(damaged)


def damaged_artifact(random: np.random.Generator) -> tuple[str, bytes]:
    """Damage an artifact, or damage its graph before it is sealed, so that its digests are right."""
    graph = threshold_graph().SerializeToString()
    if random.random() < 0.5:
        return "model.onnx", mutated(sealed(graph, threshold_manifest(graph)), random)
    for _ in range(20):
        damaged = mutated(graph, random)
        try:
            return "model.onnx", sealed(damaged, threshold_manifest(graph, graph_sha256=graph_digest(damaged)))
        except ValueError:  # no protobuf any more
            continue
    return "model.onnx", damaged


def damaged_scan(random: np.random.Generator) -> tuple[str, bytes]:
    """Damage a NIfTI file, or damage it before it is compressed, so that its checksum is right."""
    image = nibabel.Nifti1Image(random.normal(0, 300, (7, 6, 5)).astype(np.int16), np.diag([-1.5, -1.5, 4, 1]))
    plain = image.to_bytes()
    match random.integers(3):
        case 0:
            return "scan.nii", mutated(plain[:352], random) + plain[352:]
        case 1:
            return "scan.nii.gz", gzip.compress(mutated(plain[:352], random) + plain[352:])
        case _:
            return "scan.nii.gz", mutated(gzip.compress(plain), random)


def damaged_dicom(random: np.random.Generator) -> tuple[str, bytes]:
    """Damage a DICOM file anywhere; half of its bytes are pixels, which are compressed in two of three files."""
    syntax = [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless][random.integers(3)]
    return "slice", mutated(dicom_file(syntax), random)


PICTURES = (
    ("scan.png", {}),
    ("scan.jpg", {}),
    ("scan.bmp", {}),
    ("scan.tif", {}),
    ("scan.tif", {"compression": "tiff_lzw"}),
    ("scan.tif", {"compression": "tiff_adobe_deflate"}),
)


def damaged_picture(random: np.random.Generator) -> tuple[str, bytes]:
    """Damage a picture anywhere; a third of the files are damaged in the first bytes, where the header is."""
    kind = int(random.integers(len(PICTURES)))
    content = picture_file(kind)
    if random.random() < 0.33:
        return PICTURES[kind][0], mutated(content[:100], random) + content[100:]
    return PICTURES[kind][0], mutated(content, random)


@lru_cache
def picture_file(kind: int) -> bytes:
    """Make an undamaged picture."""
    name, options = PICTURES[kind]
    content = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (24, 20, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(content, format={"jpg": "JPEG", "tif": "TIFF"}.get(name[-3:], name[-3:].upper()),
                                 **({} if name.endswith("bmp") else {"exif": exif}), **options)  # fmt: skip
    return content.getvalue()


def damaged_itk(random: np.random.Generator) -> tuple[str, bytes]:
    """Damage an NRRD or MetaImage file, mostly in its header."""
    name = ("scan.nrrd", "scan.mha")[random.integers(2)]
    content = itk_file(name)
    if random.random() < 0.5:
        return name, mutated(content[:400], random) + content[400:]
    return name, mutated(content, random)


@lru_cache
def itk_file(name: str) -> bytes:
    """Make an undamaged file."""
    import SimpleITK

    voxels = np.random.default_rng(0).normal(0, 300, (5, 6, 7)).astype(np.int16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(path), useCompression=name.endswith("mha"))
        return path.read_bytes()


@lru_cache
def dicom_file(syntax: str) -> bytes:
    """Make an undamaged DICOM file."""
    content = io.BytesIO()
    stored = np.random.default_rng(0).normal(0, 40, (32, 32)).astype(np.int16)
    make_slice(stored, syntax=syntax).save_as(content, enforce_file_format=True)
    return content.getvalue()


def damaged_predictions(random: np.random.Generator) -> tuple[str, bytes]:
    """Damage the list of a prediction in bulk."""
    return MANIFEST, mutated(predictions_file(), random)


@lru_cache
def predictions_file() -> bytes:
    """Make an undamaged list of three cases, one of them done."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        queue = CaseQueue(folder, folder / MANIFEST, "0" * 64)
        queue.add(predictions_cases(folder), lambda _: True)
        queue.finish(queue.take(), was_there=False, seconds=1.5)
        queue.close()
        return (folder / MANIFEST).read_bytes()


def predictions_cases(folder: Path) -> list[Case]:
    """Make three cases."""
    scans = [folder / "scans" / f"{number}.nii.gz" for number in range(3)]
    return [
        Case(number, FoundScan(scan, (scan,), str(number)), folder / scan.name) for number, scan in enumerate(scans)
    ]


def read_predictions(path: Path) -> None:
    queue = CaseQueue(path.parent, path, "0" * 64)
    with closing(queue):
        cases = predictions_cases(path.parent)
        queue.add(cases, lambda _: True)
        while queue.waiting:
            queue.finish(queue.take(), was_there=False, seconds=1.0)
        assert queue.there | queue.done | queue.failed == {0, 1, 2}


def read_dicom(path: Path) -> None:
    open_scan(path.parent, modality="CT").read()


def main() -> None:
    kind, seed, count, folder, *first = sys.argv[1:]
    if kind == "ours":
        from our_files import OurFiles

        (Path(folder) / "files").mkdir()
        make = OurFiles(Path(folder) / "files", mutated).damage
    else:
        make = partial(one_file, Path(folder), kind)
    accepted = 0
    for number in range(int(first[0]) if first else 0, int(count)):
        name, read = make(number, np.random.default_rng((int(seed), number)))
        Path(folder, "at-work").write_text(str(number))
        begin = time.process_time()
        try:
            read()
            accepted += 1
        except EmbeddedVitError as error:
            if "\n" in str(error):
                print(f"{number}, {name}: more than one line: {error!r}")
        except BaseException as error:
            print(f"{number}, {name}: {type(error).__name__}: {error!r:.300}")
        if (seconds := time.process_time() - begin) > (LARGE_NETWORK_SECONDS if kind == "ours" else SECONDS_LIMIT):
            print(f"{number}, {name}: {seconds:.1f} seconds")
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak MiB: {peak_kib // 1024}\naccepted: {accepted}", file=sys.stderr)


def one_file(folder: Path, kind: str, number: int, random: np.random.Generator) -> tuple[str, Callable[[], object]]:
    """Write a damaged file; return its name and what reads it."""
    damage, read = {
        "artifact": (damaged_artifact, lambda path: load(path, threads=1)),
        "scan": (damaged_scan, lambda path: open_scan(path, channels=1).read()),
        "dicom": (damaged_dicom, read_dicom),
        "picture": (damaged_picture, lambda path: open_scan(path).read()),
        "itk": (damaged_itk, lambda path: open_scan(path).read()),
        "predictions": (damaged_predictions, read_predictions),
    }[kind]
    name, content = damage(random)
    path = folder / name
    path.write_bytes(content)
    return name, lambda: read(path)


if __name__ == "__main__":
    main()
