"""The pixels of one DICOM file, and how they are stored.

pydicom decodes. What it says of a value that it dislikes is dropped, as it quotes text of the file. Slices that are
compressed with JPEG or JPEG-LS are decoded in another process, see `frame_decoder`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder

from embedded_vit.boundary import one_line_errors
from embedded_vit.errors import FileFormatError, missing_extra
from embedded_vit.io.dicom.frame_decoder import CompressedFrame, FrameDecoder
from embedded_vit.io.dicom.wordless import without_words
from embedded_vit.io.digest import HashingReader

__all__ = ["DECOMPRESS", "PIXEL_TAGS", "DicomPixels", "StoredBits", "read_pixels", "transfer_syntax", "wordless_errors"]

PIXEL_TAGS = ["SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "NumberOfFrames", "BitsAllocated",
              "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "ExtendedOffsetTable",
              "ExtendedOffsetTableLengths"]  # fmt: skip
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
# Which library of the extra `dicom` decodes: its name, and that of pydicom's plugin for it.
LIBRARIES = (
    {uid.RLELossless: ("pydicom", "pydicom")}
    | dict.fromkeys(uid.JPEG2000TransferSyntaxes, ("pylibjpeg", "pylibjpeg"))
    # Of JPEG-LS pyjpegls hangs in one damaged slice of thirteen, and GDCM in none of 400.
    | dict.fromkeys((*JPEG, *uid.JPEGLSTransferSyntaxes), ("python-gdcm", "gdcm"))
)
APART = {*JPEG, *uid.JPEGLSTransferSyntaxes}  # whose decoders crash on damaged slices
FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # the others of the range are tables
TWELVE_BIT_DECODERS = {"gdcm", "pylibjpeg"}  # Pillow reads 8 bits of JPEG
DECOMPRESS = "decompress the series first, for example with gdcmconv --raw"


@dataclass(frozen=True)
class StoredBits:
    """Where in a stored word its number lies (PS3.5 section 8.1.1): right-aligned nearly always.

    Attributes:
        allocated: Bits of the word.
        stored: Bits of the number.
        high: The number's highest bit, counted from 0.
    """

    allocated: int
    stored: int
    high: int

    @classmethod
    def of(cls, tags: pydicom.Dataset, source: str) -> StoredBits:
        """Read the three from a header; compressed images are always right-aligned.

        Raises:
            FileFormatError: They contradict each other.
        """
        allocated = int(tags.BitsAllocated)
        stored = int(tags.get("BitsStored") or allocated)
        high = int(stored - 1 if tags.get("HighBit") is None else tags.HighBit)
        if not 0 < stored <= high + 1 <= allocated:
            raise FileFormatError(
                f"{source}: {stored} bits up to bit {high} of {allocated} are not possible; export the series again"
            )
        syntax = transfer_syntax(tags, source)
        if syntax.is_compressed and syntax != uid.RLELossless:
            high = stored - 1
        return cls(allocated, stored, high)

    def right_aligned(self, words: NDArray[Any]) -> NDArray[Any]:
        """Move numbers to the right end of their words, their sign included, and drop the bits that are not theirs."""
        if self.stored == self.allocated:
            return words
        return words << (self.allocated - 1 - self.high) >> (self.allocated - self.stored)


@dataclass(frozen=True, eq=False)
class DicomPixels:
    """The pixels of a file, as they are stored.

    Attributes:
        path: The file.
        sha256: SHA-256 of the file's bytes, 64 hexadecimal digits.
        dataset: Holds `PIXEL_TAGS`.
    """

    path: Path
    sha256: str
    dataset: pydicom.Dataset

    def decoded(self, frames: Iterable[int], apart: FrameDecoder) -> Iterator[NDArray[Any]]:
        """Decode slices, (rows, columns) in stored words, in the order asked for; see `StoredBits.right_aligned`.

        Args:
            frames: Their numbers.
            apart: The process for those that are decoded in another one.

        Raises:
            FileFormatError: The file is damaged or too short, or nothing is installed that decodes it.
        """
        source = str(self.path)
        with wordless_errors(self.path):
            syntax = transfer_syntax(self.dataset, source)
            self.dataset.file_meta.TransferSyntaxUID = syntax  # a file without preamble does not say it
            decoder, plugin = get_decoder(syntax), _plugin(syntax)
        options: dict[str, Any] = {"raw": True, "correct_unused_bits": False}
        for frame in frames:
            with wordless_errors(self.path):
                content = _compressed(self.dataset, frame, syntax, source) if syntax.is_compressed else b""
                if syntax in APART:
                    words = apart.decode(self._described(syntax, plugin), content, source)
                else:
                    words, _ = decoder.as_array(self.dataset, index=frame, decoding_plugin=plugin, **options)
            yield words

    def _described(self, syntax: uid.UID, plugin: str) -> CompressedFrame:
        tags = self.dataset
        few = int(tags.get("BitsStored") or 8) < 8 and syntax in uid.JPEGLSTransferSyntaxes  # which GDCM leaves out
        return CompressedFrame(
            syntax=str(syntax),
            plugin="" if few else plugin,
            rows=int(tags.Rows),
            columns=int(tags.Columns),
            allocated=int(tags.BitsAllocated),
            stored=int(tags.get("BitsStored") or tags.BitsAllocated),
            signed=tags.PixelRepresentation == 1,
            photometric=str(tags.PhotometricInterpretation),
        )


def read_pixels(path: Path) -> DicomPixels:
    """Read a file's pixels, and take its digest on the way.

    Raises:
        FileFormatError: The file is unreadable or damaged.
    """
    with wordless_errors(path), open(path, "rb", buffering=0) as file:
        reader = HashingReader(file)
        dataset = pydicom.dcmread(reader.buffered(), specific_tags=list(PIXEL_TAGS), force=True)
        return DicomPixels(path, reader.hexdigest(), dataset)


@contextmanager
def wordless_errors(path: Path) -> Iterator[None]:
    """Turn whatever pydicom raises into one line without any of the file's text.

    Raises:
        FileFormatError: The file cannot be read or is damaged.
    """
    what = "truncated or damaged, or not as DICOM prescribes"
    with one_line_errors(path, what=what, quoted=False), without_words():
        yield


def transfer_syntax(tags: pydicom.Dataset, source: str) -> uid.UID:
    """Return how the pixels are stored.

    Raises:
        FileFormatError: It is not said, or not one that can be decoded here.
    """
    syntax = tags.file_meta.get("TransferSyntaxUID")
    if syntax is None and not tags.file_meta:  # a bare data set: only two ways to store it are usual
        return uid.ImplicitVRLittleEndian if tags.original_encoding[0] else uid.ExplicitVRLittleEndian
    if syntax is None:
        raise FileFormatError(f"{source}: no TransferSyntaxUID, so its encoding is unknown; export the series again")
    name = syntax.name if syntax.is_transfer_syntax and not syntax.is_private else "in a way unknown here"
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise FileFormatError(f"{source}: compressed ({name}); {DECOMPRESS}") from None
    library, _ = LIBRARIES.get(syntax, ("", ""))
    deep = syntax == uid.JPEGExtended12Bit and int(tags.get("BitsStored") or 8) > 8
    if not decoder.is_available or (deep and not TWELVE_BIT_DECODERS & set(decoder.available_plugins)):
        advice = f"{missing_extra(library, 'dicom')}, or {DECOMPRESS}" if library else DECOMPRESS
        raise FileFormatError(f"{source}: compressed ({name}{', 12 bits' if deep else ''}); {advice}")
    return syntax


def _plugin(syntax: uid.UID) -> str:
    """Return pydicom's name of the library that decodes; empty where any that is installed does."""
    _, plugin = LIBRARIES.get(syntax, ("", ""))
    return plugin if plugin in get_decoder(syntax).available_plugins else ""


def _compressed(dataset: pydicom.Dataset, frame: int, syntax: uid.UID, source: str) -> bytes:
    """Return a compressed slice; refuse one that would become another size than the header announces."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    offsets = None
    if "ExtendedOffsetTable" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    frames = int(dataset.get("NumberOfFrames") or 1)
    content = get_frame(dataset.PixelData, frame, extended_offsets=offsets, number_of_frames=frames)
    if len(content) > 2 * rows * columns * dataset.BitsAllocated // 8 + 4096:
        raise FileFormatError(f"{source}: a compressed slice is larger than the slice itself; copy the file again")
    kind = "JPEG 2000" if syntax in uid.JPEG2000TransferSyntaxes else "JPEG"
    if (kind != "JPEG" or syntax in APART) and SIZES[kind](content) != (rows, columns):
        raise FileFormatError(
            f"{source}: a slice compressed with {kind} is not {rows} x {columns} pixels; copy the file again"
        )
    return content


def _jpeg_2000_size(content: bytes) -> tuple[int, int] | None:
    """Return rows and columns of a grey image; None where it is none.

    Source: ISO 15444-1 A.5.1: the first two markers, the length and capabilities, the image's ends and starts, those
    of its tiles, and the number of its components.
    """
    markers, right, bottom, left, top, components = struct.unpack_from(">I4x4I16xH", content)
    return (bottom - top, right - left) if markers == 0xFF4FFF51 and components == 1 else None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Return rows and columns of a grey image; None where it is none.

    Source: ISO 10918-1 B.1 and B.2.2 for JPEG, ISO 14495-1 C.2.2 for JPEG-LS: segments of a marker, a length and
    content, and the segment that begins a frame.
    """
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xFF:  # fills
            place += 1
            continue
        if marker in FRAME_MARKERS:
            _, rows, columns, components = struct.unpack_from(">BHHB", content, place + 4)
            return (rows, columns) if components == 1 else None
        place += 2 + length
    return None


SIZES = {"JPEG 2000": _jpeg_2000_size, "JPEG": _jpeg_size}
