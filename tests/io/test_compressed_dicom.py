"""Series compressed with JPEG and JPEG-LS: the same numbers, and a damaged slice takes down nothing but its decoder."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_fixtures import write_series
from pydicom.encaps import encapsulate, get_frame

from embedded_vit.errors import FileFormatError
from embedded_vit.io.dicom import frame_decoder
from embedded_vit.io.dicom.frame_decoder import CompressedFrame, FrameDecoder
from embedded_vit.io.scan_source import open_scan

pytest.importorskip("gdcm")
pytest.importorskip("jpeg_ls")
MakeArtifact = Callable[..., Path]
PROGRAMS = {
    "lossless, first-order": ["dcmcjpeg", "+e1"],
    "lossless, any predictor": ["dcmcjpeg", "+el", "+sv", "5"],
    "JPEG-LS": ["dcmcjpls", "+el"],
}
LOSSY = {"JPEG-LS near-lossless": ["dcmcjpls", "+en"], "extended, 12 bits": ["dcmcjpeg", "+ee", "+bt"]}


def hounsfield() -> np.ndarray:
    """(slices, rows, columns) of a bright block in noisy air and fat."""
    noisy = np.random.default_rng(3).normal(-100, 30, (4, 32, 40)).round().astype(np.int16)
    noisy[:, :4] = -1000
    noisy[1:3, 8:16, 8:16] = 400
    return noisy


def compressed(folder: Path, program: list[str], series: Path) -> Path:
    """Compress all files of a series with a program of DCMTK."""
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} (Debian's dcmtk) is not installed")
    folder.mkdir()
    for path in series.iterdir():
        subprocess.run([*program, str(path), str(folder / path.name)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series as scanners store it: 12 bits without a sign."""
    folder = tmp_path_factory.mktemp("series")
    write_series(folder, (hounsfield() + 1024).astype(np.uint16), BitsStored=12, HighBit=11, RescaleIntercept=-1024)
    return folder


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory, series: Path) -> tuple[CompressedFrame, bytes, np.ndarray]:
    """A slice compressed with JPEG lossless, and its pixels."""
    folder = compressed(tmp_path_factory.mktemp("frame") / "lossless", PROGRAMS["lossless, first-order"], series)
    path = min(folder.iterdir())
    dataset = pydicom.dcmread(path)
    described = CompressedFrame(
        syntax=str(dataset.file_meta.TransferSyntaxUID),
        plugin="gdcm",
        rows=32,
        columns=40,
        allocated=16,
        stored=12,
        signed=False,
        photometric="MONOCHROME2",
    )
    content = get_frame(dataset.PixelData, 0, number_of_frames=1)
    return described, content, pydicom.dcmread(series / path.name).pixel_array


@pytest.mark.parametrize("name", PROGRAMS)
def test_masks_of_compressed_series_are_byte_equal(
    predict, make_artifact: MakeArtifact, series: Path, tmp_path: Path, name: str
) -> None:
    model, packed = make_artifact(), compressed(tmp_path / "packed", PROGRAMS[name], series)
    for folder in (series, packed):
        status, _, said = predict(model, folder, "-o", tmp_path / f"{folder.name}.nii.gz")
        assert status == 0, said
    masks = [(tmp_path / f"{folder.name}.nii.gz").read_bytes() for folder in (series, packed)]
    assert masks[0] == masks[1]
    assert np.asarray(nibabel.load(tmp_path / "packed.nii.gz").dataobj).any()


@pytest.mark.parametrize("name", PROGRAMS)
def test_signed_numbers_keep_their_sign(tmp_path: Path, name: str) -> None:
    write_series(tmp_path / "series", hounsfield(), BitsStored=12, HighBit=11)
    packed = compressed(tmp_path / "packed", PROGRAMS[name], tmp_path / "series")
    found, expected = open_scan(packed).read(), open_scan(tmp_path / "series").read()
    np.testing.assert_array_equal(found.array, expected.array)


@pytest.mark.parametrize("name", LOSSY)
def test_what_is_lossy_equals_what_dcmtk_decodes(series: Path, tmp_path: Path, name: str) -> None:
    packed = compressed(tmp_path / "packed", LOSSY[name], series)
    decoder = {"dcmcjpls": "dcmdjpls", "dcmcjpeg": "dcmdjpeg"}[LOSSY[name][0]]
    plain = compressed(tmp_path / "plain", [decoder], packed)
    np.testing.assert_array_equal(open_scan(packed).read().array, open_scan(plain).read().array)


def test_a_slice_that_announces_another_size_is_refused_before_it_is_decoded(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_decoder, "start_python", lambda _: pytest.fail("was decoded"))
    packed = compressed(tmp_path / "packed", PROGRAMS["JPEG-LS"], series)
    for path in packed.iterdir():
        dataset = pydicom.dcmread(path)
        content = bytearray(get_frame(dataset.PixelData, 0, number_of_frames=1))
        place = content.index(b"\xff\xf7") + 5
        assert struct.unpack_from(">HH", content, place) == (32, 40)
        struct.pack_into(">HH", content, place, 60000, 60000)
        dataset.PixelData = encapsulate([bytes(content)])
        dataset.save_as(path, enforce_file_format=True)
    with pytest.raises(FileFormatError, match="a slice compressed with JPEG is not 32 x 40 pixels"):
        open_scan(packed).read()


def test_damaged_slices_end_their_decoder_and_nothing_else(
    frame: tuple[CompressedFrame, bytes, np.ndarray],
) -> None:
    described, content, pixels = frame
    refused = 0
    with FrameDecoder() as decoder:
        for seed in range(60):
            random = np.random.default_rng(seed)
            damaged = bytearray(content)
            for place in random.integers(2, len(content), 4):
                damaged[place] = random.integers(256)
            try:
                decoder.decode(described, bytes(damaged), "slice")
            except FileFormatError:
                refused += 1
        np.testing.assert_array_equal(decoder.decode(described, content, "slice"), pixels)
    assert refused


def test_one_process_decodes_a_series_and_ends_with_it(
    frame: tuple[CompressedFrame, bytes, np.ndarray],
) -> None:
    described, content, _ = frame
    with FrameDecoder() as decoder:
        assert decoder._process is None
        decoder.decode(described, content, "slice")
        process = decoder._process
        decoder.decode(described, content, "slice")
        assert decoder._process is process
        assert process.poll() is None
    assert process.poll() is not None


@pytest.mark.skipif(os.name == "nt", reason="no SIGSTOP")
def test_a_decoder_that_hangs_is_ended(
    frame: tuple[CompressedFrame, bytes, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    described, content, _ = frame
    others = threading.active_count()
    with FrameDecoder() as decoder:
        decoder.decode(described, content, "slice")
        os.kill(decoder._process.pid, signal.SIGSTOP)
        monkeypatch.setattr(frame_decoder, "SECONDS", 0.2)
        began = time.monotonic()
        with pytest.raises(FileFormatError, match="its decoder stopped"):
            decoder.decode(described, content, "slice")
        assert time.monotonic() - began < 10
    assert threading.active_count() <= others + 1  # the one that waits for the decoder


LIARS = {
    "nothing": "pass",
    "too much": "write({'dtype': '<u2'}, bytes(5000))",
    "an odd type": "write({'dtype': 'O'}, bytes(2560))",
    "no header": "out.write(b'x' * 100)",
    "a long header": "out.write(b'\\xff' * 8)",
}


@pytest.mark.parametrize("name", LIARS)
def test_what_a_decoder_answers_is_checked(
    frame: tuple[CompressedFrame, bytes, np.ndarray], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    described, content, _ = frame
    program = (
        "import sys, json, struct\nout = sys.stdout.buffer\nsys.stdin.buffer.read(8)\n"
        "def write(header, content):\n    text = json.dumps(header).encode()\n"
        "    out.write(struct.pack('<II', len(text), len(content)) + text + content)\n" + LIARS[name]
    )
    start = frame_decoder.start_python
    monkeypatch.setattr(frame_decoder, "start_python", lambda _: start(["-c", program]))
    with FrameDecoder() as decoder, pytest.raises(FileFormatError, match="its decoder stopped"):
        decoder.decode(described, content, "slice")
