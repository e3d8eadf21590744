"""Debian's Orthanc, an archive, in a folder of its own; for the benchmark and the tests of the DICOM node."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pydicom

__all__ = ["Orthanc", "dcmtk"]

START_SECONDS = 60


class Orthanc:
    """A running Orthanc with the AE title ARCHIVE."""

    def __init__(self, folder: Path) -> None:
        """Start it, and wait until it answers.

        Args:
            folder: Where it keeps what it stores.
        """
        self.dicom_port, self.http_port = _free_port(), _free_port()
        database = str(folder / "db")
        settings = {
            "StorageDirectory": database,
            "IndexDirectory": database,
            "Plugins": [],
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": "ARCHIVE",
        }
        (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
        words = ["Orthanc", str(folder / "orthanc.json")]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"Orthanc does not answer at port {self.http_port}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(timeout=30)

    def find(self, study: str) -> list[str]:
        """Return Orthanc's names of the segmentations of a study."""
        query = {"Level": "Instance", "Query": {"StudyInstanceUID": study, "Modality": "SEG"}}
        found: list[str] = json.loads(self._ask("/tools/find", json.dumps(query).encode()))
        return found

    def segmentations(self, study: str) -> list[pydicom.Dataset]:
        """Return the segmentations of a study."""
        return [pydicom.dcmread(io.BytesIO(self._ask(f"/instances/{name}/file"))) for name in self.find(study)]

    def delete(self, name: str) -> None:
        """Remove an instance."""
        self._ask(f"/instances/{name}", method="DELETE")

    def _answers(self) -> bool:
        try:
            return bool(self._ask("/system"))
        except OSError:
            return False

    def _ask(self, path: str, content: bytes | None = None, *, method: str | None = None) -> bytes:
        address = f"http://127.0.0.1:{self.http_port}{path}"
        request = urllib.request.Request(address, content, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            read: Any = answer.read()
        return bytes(read)


def dcmtk(program: str) -> str | None:
    """Return the path of one of dcmtk's programs, or None.

    pynetdicom puts programs with the same names and other options beside Python, where an activated environment looks
    first.
    """
    own = str(Path(sys.executable).parent)
    places = [place for place in os.environ["PATH"].split(os.pathsep) if place != own]
    return shutil.which(program, path=os.pathsep.join(places))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
