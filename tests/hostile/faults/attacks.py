"""Files that must be refused before memory is allocated for them.

    python tests/hostile/faults/attacks.py FOLDER

writes them; each is small and claims or unfolds to something huge, nests without end, or points elsewhere.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import sys
import zlib
from pathlib import Path

import nibabel
import numpy as np
import onnx
from onnx import TensorProto, helper

DEPTH = 5000  # of sequences in sequences
CLAIMS = ((30000, 30000, 30000), (32767, 32767, 4), (1, 1, 32767), (0, 5, 5), (-3, 5, 5))


def nifti_claims(folder: Path) -> None:
    """NIfTI headers that announce other sizes than there are bytes for."""
    image = nibabel.Nifti1Image(np.zeros((7, 6, 5), np.int16), np.eye(4)).to_bytes()
    for number, shape in enumerate(CLAIMS):
        content = bytearray(image)
        content[40:56] = struct.pack("<8h", 3, *shape, 1, 1, 1, 1)
        (folder / f"nifti-claim-{number}.nii").write_bytes(content)
        (folder / f"nifti-claim-{number}.nii.gz").write_bytes(gzip.compress(content))
    bomb = gzip.compress(bytes(image[:352]) + bytes(2**24))
    (folder / "nifti-bomb.nii.gz").write_bytes(bomb[:-8])  # 16 MB of zeros behind a small scan, and no end


def gzip_bomb(folder: Path) -> None:
    """A header of a huge scan, and deflated zeros that are too few for it."""
    content = bytearray(nibabel.Nifti1Image(np.zeros((7, 6, 5), np.int16), np.eye(4)).to_bytes()[:352])
    content[40:56] = struct.pack("<8h", 3, 4096, 4096, 4096, 1, 1, 1, 1)
    (folder / "gzip-bomb.nii.gz").write_bytes(gzip.compress(bytes(content) + bytes(2**25)))


def png_claims(folder: Path) -> None:
    """PNG headers of pictures that no memory holds."""
    for number, side in enumerate((2**31 - 1, 200_000)):
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
        content = b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
        (folder / f"png-claim-{number}.png").write_bytes(content)


def bmp_claim(folder: Path) -> None:
    """A bitmap of 4 * 10^18 pixels."""
    header = struct.pack("<2sIHHI", b"BM", 100, 0, 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 1, 1, 0, 0)
    (folder / "bmp-claim.bmp").write_bytes(header + bytes(64))


def itk_claims(folder: Path) -> None:
    """NRRD and MetaImage headers of huge scans, and of scans that lie elsewhere."""
    (folder / "nrrd-claim.nrrd").write_bytes(
        b"NRRD0004\ntype: short\ndimension: 3\nsizes: 60000 60000 60000\nencoding: raw\nendian: little\n"
        b"space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n\n" + bytes(100)
    )
    (folder / "nrrd-elsewhere.nrrd").write_bytes(
        b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 8 8 4\nencoding: raw\ndata file: /etc/passwd\n"
        b"space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n\n"
    )
    (folder / "mha-claim.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 60000 60000 60000\nElementType = MET_SHORT\n"
        b"ElementDataFile = LOCAL\n" + bytes(100)
    )


def dicom_claims(folder: Path) -> None:
    """Slices of 65535 x 65535 pixels, of a billion frames, and of sequences in sequences."""
    from dicom_fixtures import make_slice

    stored = np.zeros((8, 8), np.int16)
    for name, tags in {
        "dicom-size": {"Rows": 65535, "Columns": 65535},
        "dicom-frames": {"NumberOfFrames": 1_000_000_000},
        "dicom-zero": {"Rows": 0},
    }.items():
        (folder / name).mkdir()
        make_slice(stored, **tags).save_as(folder / name / "slice", enforce_file_format=True)
    opened = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    content = io.BytesIO()
    make_slice(stored, Rows=9).save_as(content, enforce_file_format=True)
    pixels = content.getvalue().index(b"\xe0\x7f\x10\x00OW")
    (folder / "dicom-nested").mkdir()
    nested = content.getvalue()[:pixels] + DEPTH * opened + DEPTH * closed + content.getvalue()[pixels:]
    (folder / "dicom-nested" / "slice").write_bytes(nested)


def model_claims(folder: Path) -> None:
    """Model files whose weights lie elsewhere, or are said to be huge."""
    from artifact_fixtures import threshold_graph, threshold_manifest

    from embedded_vit.artifact.manifest import sealed

    def seal(name: str, model: onnx.ModelProto) -> None:
        content = model.SerializeToString()
        (folder / name).write_bytes(sealed(content, threshold_manifest(content)))

    elsewhere = threshold_graph()
    weight = elsewhere.graph.initializer.add(name="weight", data_type=TensorProto.FLOAT, dims=[4])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/passwd")
    seal("model-elsewhere.onnx", elsewhere)
    huge = threshold_graph()
    huge.graph.initializer[0].CopyFrom(
        TensorProto(name="minus_one", data_type=TensorProto.FLOAT, dims=[2**20, 2**20], raw_data=b"\0\0\0\0")
    )
    seal("model-claim.onnx", huge)
    filled = threshold_graph()
    filled.graph.initializer.append(helper.make_tensor("shape", TensorProto.INT64, [2], [2**20, 2**20]))
    filled.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["filled"]))
    filled.graph.node.insert(1, helper.make_node("ReduceMean", ["filled"], ["mean"], keepdims=0))
    filled.graph.node[-1].output[0] = "joined"
    filled.graph.node.append(helper.make_node("Add", ["joined", "mean"], ["logits"]))
    seal("model-fills.onnx", filled)


def h5_claim(folder: Path) -> None:
    """A chunked array of 8 * 10^15 numbers of which none is stored."""
    import h5py

    with h5py.File(folder / "h5-claim.h5", "w") as file:
        for name in ("image", "label"):
            file.create_dataset(name, shape=(200_000, 200_000, 200_000), chunks=(1, 64, 64), dtype="f4")


def description_claims(folder: Path) -> None:
    """Descriptions of data sets that nest without end, or point out of their folder."""
    for name, text in {
        "description-nested": "[" * 100_000 + "]" * 100_000,
        "description-elsewhere": json.dumps(
            {
                "modality": {"0": "CT"},
                "labels": {"0": "background", "1": "one"},
                "training": [{"image": "../../../../etc/passwd", "label": "/etc/passwd"}],
            }
        ),
    }.items():
        (folder / name).mkdir()
        (folder / name / "dataset.json").write_text(text)


MAKERS = (
    *(nifti_claims, gzip_bomb, png_claims, bmp_claim, itk_claims, dicom_claims, model_claims, h5_claim),
    description_claims,
)


def write_attacks(folder: Path) -> list[Path]:
    """Write all files; return them and the folders of those that are folders."""
    folder.mkdir(parents=True, exist_ok=True)
    for make in MAKERS:
        make(folder)
    return sorted(folder.iterdir())


# Reads one attack in a process of its own; prints what came of it, the seconds, and how many MiB its peak grew by.
READS = """
import resource, sys, time
import numpy as np
from pathlib import Path
from embedded_vit.datasets import open_data_set, check_data_set
from embedded_vit.engines import load
from embedded_vit.errors import EmbeddedVitError
from embedded_vit.io.scan_source import open_scan

def data(path):
    check = check_data_set(open_data_set(path))
    if check.errors:
        raise EmbeddedVitError("errors in the data set")

for name in sys.argv[1:]:
    path = Path(name)
    read = lambda path: open_scan(path).read()
    if path.suffix == ".onnx":
        read = lambda path: load(path, threads=1).run(np.zeros((1, 1, 32, 32), np.float32))
    elif path.name.startswith("description"):
        read = data
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        read(path)
        what = "accepted"
    except EmbeddedVitError as error:
        what = "refused" if chr(10) not in str(error) else "more than one line"
    except BaseException as error:
        what = f"{type(error).__name__}: {error!s:.80}".replace(chr(10), " ")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{path.name}|{what}|{time.process_time() - began:.2f}|{grown:.0f}", flush=True)
"""

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[2])]
    for written in write_attacks(Path(sys.argv[1])):
        sys.stdout.write(f"{written}\n")
