"""What runs in the process of a `FrameDecoder`: it decodes slices until nobody sends any more.

    python -m embedded_vit.io.dicom.frame_process

pydicom decodes. Only JPEG of 12 bits, which its plugin for GDCM leaves out, is handed to GDCM here; the pixels equal
those of DCMTK.
"""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from embedded_vit.fresh_python import serve_pipes
from embedded_vit.io.dicom.frame_decoder import CompressedFrame, read_exactly, read_header, write_message

__all__ = ["decoded", "serve"]

SPARE_BYTES = 1 << 28  # that decoding a slice may take, and sixteen times the slice itself
TIMES_THE_SLICE = 16


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Decode slices until the other end of `requests` is closed."""
    base = _address_space()
    while True:
        try:
            header, length = read_header(requests)
            content = read_exactly(requests, length)
        except EOFError:
            return
        frame = CompressedFrame(**header)
        _limit(frame, base)
        try:
            words = np.ascontiguousarray(decoded(frame, content))
        except (NameError, ImportError) as error:  # no byte of a file leads to these; `boundary` keeps the same list
            write_message(answers, {"mistake": f"{type(error).__name__}: {error}"})
        except Exception as error:  # the libraries raise whatever a damaged byte leads to
            write_message(answers, {"error": type(error).__name__})
        else:
            write_message(answers, {"dtype": words.dtype.str}, words.tobytes())


def decoded(frame: CompressedFrame, content: bytes) -> NDArray[Any]:
    """Decode a slice; (rows, columns) words as they are stored."""
    if frame.syntax == uid.JPEGExtended12Bit and frame.stored > 8 and frame.plugin == "gdcm":
        return _twelve_bits(frame, content)
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.UID(frame.syntax)
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = frame.rows, frame.columns, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = frame.allocated, frame.stored, frame.stored - 1
    dataset.PixelRepresentation, dataset.PhotometricInterpretation = int(frame.signed), frame.photometric
    dataset.PixelData = encapsulate([content])
    options: dict[str, Any] = {"raw": True, "correct_unused_bits": False, "decoding_plugin": frame.plugin}
    words, _ = get_decoder(uid.UID(frame.syntax)).as_array(dataset, index=0, **options)
    return words


def _twelve_bits(frame: CompressedFrame, content: bytes) -> NDArray[Any]:
    """Decode JPEG of 12 bits."""
    import gdcm

    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(content)
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((frame.columns, frame.rows, 1))
    image.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation.GetPIType(frame.photometric)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(frame.syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(1, frame.allocated, frame.stored, frame.stored - 1, int(frame.signed)))
    words = image.GetBuffer().encode("utf-8", "surrogateescape")  # its wrapper gives bytes as a str
    return np.frombuffer(words, f"<{'i' if frame.signed else 'u'}{frame.allocated // 8}").reshape(
        frame.rows, frame.columns
    )


def _address_space() -> int:
    """Return the address space that this process takes, in bytes; 0 where that is not known."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _limit(frame: CompressedFrame, base: int) -> None:
    """Limit the memory and the time on the processor that a slice may take."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows, where only the other process looks at the clock
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + frame.seconds) + 1
    wanted = {resource.RLIMIT_CPU: seconds, resource.RLIMIT_CORE: 0}
    if base:
        wanted[resource.RLIMIT_AS] = (
            base + SPARE_BYTES + TIMES_THE_SLICE * frame.rows * frame.columns * frame.allocated // 8
        )
    for kind, limit in wanted.items():
        _, most = resource.getrlimit(kind)
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


def main() -> None:
    """Serve on standard input and output; what the libraries print goes nowhere."""
    warnings.simplefilter("ignore")
    requests, answers = serve_pipes()
    with suppress(BrokenPipeError):  # nobody waits for the answer any more
        serve(requests, answers)


if __name__ == "__main__":
    main()
