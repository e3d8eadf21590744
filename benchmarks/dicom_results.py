"""Time and memory that results in DICOM take beside the mask, for a CT of 512 x 512 x 300.

    python benchmarks/dicom_results.py [--slices 300] [--size 512]

A series is written into a temporary folder, eight large structures are put into a mask of it, and each result is made
in a process of its own. Memory is what the process takes at most while it writes, less what it took before.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
from footnote import footnote
from numpy.typing import NDArray
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from embedded_vit.builtin.resolve import model_path
from embedded_vit.clinic.secondary_capture import SecondaryCapture
from embedded_vit.clinic.segmentation_object import SegmentationObject
from embedded_vit.engines import load
from embedded_vit.io.scan_source import open_scan
from embedded_vit.predict.predictor import Prediction
from embedded_vit.volume import LabelMap

MODEL = "abdomen-ct-fast"
KINDS = {
    "segmentation, BINARY": SegmentationObject(),
    "segmentation, LABELMAP": SegmentationObject(labelmap=True),
    "secondary capture": SecondaryCapture(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--apart", nargs=2, metavar=("FOLDER", "KIND"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.apart is not None:
        folder, kind = arguments.apart
        measure(Path(folder), kind)
        return
    print(footnote())
    print("| result | seconds of a core | memory, MB | bytes per voxel | file, MB |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as top:
        write_series(Path(top) / "series", arguments.slices, arguments.size)
        for kind in KINDS:
            done = subprocess.run([sys.executable, __file__, "--apart", top, kind], capture_output=True, check=True)
            found = json.loads(done.stdout)
            voxels = arguments.slices * arguments.size**2
            memory = found["memory_bytes"]
            print(
                f"| {kind} | {found['seconds']:.1f} | {memory / 1e6:.0f} | {memory / voxels:.1f} | "
                f"{found['file_bytes'] / 1e6:.1f} |"
            )


def write_series(folder: Path, slices: int, size: int) -> None:
    """Write a CT series of noise."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(-1000, 400, (size, size)).astype("<i2").tobytes()
    for index in range(slices):
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.6.{index + 1}")
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "1.2.3", "1.2.4", "1.2.5"
        dataset.Modality, dataset.PatientName, dataset.SeriesNumber = "CT", "Nobody", 1
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, index], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 1
        dataset.Rows = dataset.Columns = size
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 1
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelData = pixels
        dataset.save_as(folder / f"{index:04d}.dcm", enforce_file_format=True)


def measure(top: Path, kind: str) -> None:
    """Write a result and print what it took as JSON."""
    manifest = load(model_path(MODEL), threads=1).manifest
    source = open_scan(top / "series")
    scan = source.read()
    labels = manifest.contract.labels
    prediction = Prediction(
        mask=LabelMap(blobs(scan.shape, labels.classes), scan.affine),
        labels=labels,
        volumes=dict.fromkeys(labels.names, 1.0),
        seconds={},
        model=MODEL,
        model_sha256="0" * 64,
        engine="none",
        input_format="DICOM",
        input_sha256="0" * 64,
        forced=False,
        warnings=(),
        geometry=source.geometry,
        kept=(scan, source),
    )
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, began = memory_bytes("VmRSS"), time.process_time()
    path = top / "result.dcm"
    KINDS[kind].write(path, prediction, manifest.contract)
    found = {
        "seconds": time.process_time() - began,
        "memory_bytes": memory_bytes("VmHWM") - before,
        "file_bytes": path.stat().st_size,
    }
    sys.stdout.write(json.dumps(found))


def blobs(shape: tuple[int, ...], classes: int) -> NDArray[np.uint8]:
    """Make a mask of large ellipsoids, one per structure, along a diagonal."""
    mask = np.zeros(shape, np.uint8)
    axes = np.ogrid[tuple(slice(0, length) for length in shape)]
    for label in range(1, classes):
        place = 0.2 + 0.6 * label / classes
        distance = sum(
            (((axis - place * length) / (0.15 * length)) ** 2 for axis, length in zip(axes, shape, strict=True)),
            np.zeros(shape, np.float32),
        )
        mask[distance < 1] = label
    return mask


def memory_bytes(what: str) -> int:
    """Return an amount of memory of this process, as Linux counts it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))


if __name__ == "__main__":
    main()
