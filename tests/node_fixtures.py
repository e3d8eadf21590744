"""A DICOM node in a process of its own, an archive that counts what it stores, and senders; for tests of the node."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifact_fixtures import threshold_graph, threshold_manifest
from dicom_fixtures import make_slice
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import SecondaryCaptureImageStorage, SegmentationStorage, Verification

from embedded_vit.artifact.manifest import sealed
from embedded_vit.node.sender import hold_reactor
from embedded_vit.node.settings import TlsFiles

REPOSITORY = Path(__file__).resolve().parents[1]
WAIT_SECONDS = 60
SENDERS = 3
MOST_AHEAD = 8  # studies that were sent and are not in the archive


def write_model(path: Path, **fields: Any) -> Path:
    """Write a threshold model, over what is there."""
    graph = threshold_graph().SerializeToString()
    temporary = path.with_suffix(".new")
    temporary.write_bytes(sealed(graph, threshold_manifest(graph, **fields)))
    temporary.replace(path)
    return path


def make_certificates(folder: Path) -> Path:
    """Make an authority, certificates of a node, a sender and an archive that it signed, and a stranger's."""
    if shutil.which("openssl") is None:
        pytest.skip("the program openssl is not installed")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("authority", "stranger"):
        openssl(*("req", "-x509", *key, "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem"),
                *("-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"))  # fmt: skip
    for name, names in (("node", "DNS:localhost,IP:127.0.0.1"), ("sender", "DNS:localhost,IP:127.0.0.1"),
                        ("archive", "IP:127.0.0.1"), ("elsewhere", "DNS:pacs.example")):  # fmt: skip
        (folder / "names").write_text(f"subjectAltName={names}\n")
        openssl("req", "-new", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ("-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem", "-days", "2")
    return folder


def tls_files(folder: Path, name: str) -> TlsFiles:
    """Return the files of one of `make_certificates`."""
    files = {"certificate": f"{name}.pem", "key": f"{name}.key", "authority": "authority.pem"}
    return TlsFiles(**{what: folder / file for what, file in files.items()})


def bright_images(study: str, series: str = "", images: int = 3, rows: int = 8, **tags: Any) -> list[Dataset]:
    """Make the images of a study of its own, small, with a bright block of so many rows in the middle ones."""
    hounsfield = np.full((images, 32, 40), -1000, np.int16)
    hounsfield[1:-1, 8 : 8 + rows, 8:16] = 400
    series = series or f"{study}.1"
    made = []
    for index, plane in enumerate(hounsfield):
        uid = f"{series}.{index + 1}"
        values = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "FrameOfReferenceUID": f"{study}.9"}
        image = make_slice(plane, **(values | {"ImagePositionPatient": [-100, -120, 3 * index]} | tags))
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid
        if "SOPClassUID" in tags:
            image.file_meta.MediaStorageSOPClassUID = tags["SOPClassUID"]
        made.append(image)
    return made


def send(
    port: int,
    images: Sequence[Dataset],
    *,
    caller: str = "SCANNER",
    called: str = "EMBEDDEDVIT",
    tls: Any = None,
    patience_seconds: float = 20,
) -> list[int]:
    """Send images in one association; return the status of each answer, -1 without one. An empty list: rejected."""
    entity = AE(caller)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = patience_seconds
    contexts = {(str(image.SOPClassUID), str(image.file_meta.TransferSyntaxUID)) for image in images}
    for sop_class, syntax in contexts or {(Verification, "1.2.840.10008.1.2")}:
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate("127.0.0.1", port, ae_title=called, tls_args=tls)
    if not association.is_established:
        return []
    statuses = []
    for image in images:
        if not association.is_established:
            statuses.append(-1)
            continue
        hold_reactor(association)
        try:
            statuses.append(association.send_c_store(image).get("Status", -1))
        except (ValueError, RuntimeError):  # no context was accepted, or the association has just ended
            statuses.append(-1)
    association.release()
    return statuses


def echo(port: int, **options: Any) -> int:
    """Return the status of a C-ECHO, -1 without one."""
    entity = AE(options.get("caller", "SCANNER"))
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", port, ae_title="EMBEDDEDVIT", tls_args=options.get("tls"))
    if association.is_established:
        hold_reactor(association)
    status = association.send_c_echo().get("Status", -1) if association.is_established else -1
    association.release()
    return status


class Archive:
    """An archive that keeps every object by its UID, and counts how often each came."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.objects: dict[str, Dataset] = {}
        self.times: Counter[str] = Counter()
        entity = AE("ARCHIVE")
        for sop_class in (SegmentationStorage, SecondaryCaptureImageStorage):
            entity.add_supported_context(sop_class)
        handlers = [(evt.EVT_C_STORE, self._store)]
        self.server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=tls)
        self.port = self.server.server_address[1]

    def _store(self, event: Any) -> int:
        stored = event.dataset
        stored.file_meta = event.file_meta
        self.times[str(stored.SOPInstanceUID)] += 1
        self.objects[str(stored.SOPInstanceUID)] = stored
        return 0

    def of(self, study: str) -> list[Dataset]:
        """Return the objects of a study."""
        return [stored for stored in list(self.objects.values()) if stored.StudyInstanceUID == study]

    def stop(self) -> None:
        """End it."""
        self.server.shutdown()


class RunningNode:
    """A node, and its process; `before` are words before the program, as of strace."""

    def __init__(self, model: Path, archive_port: int, store: Path, *options: str, before: Sequence[str] = ()) -> None:
        self.store, self.lines, self._before = store, [], before
        self._words = [
            *(*before, sys.executable, "-m", "embedded_vit", "node", str(model), "--port", "0", "--store", str(store)),
            *("--send-to", f"ARCHIVE@127.0.0.1:{archive_port}", "--threads", "1", *options),
        ]
        self.start()

    def start(self) -> None:
        """Start the process and wait until it listens."""
        self.process = subprocess.Popen(
            self._words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        line = self.process.stdout.readline()
        assert "listens at" in line, self.process.communicate()[1]
        self.port = int(line.split(":")[1].split(";")[0])
        threading.Thread(target=lambda said: self.lines.extend(said), args=(self.process.stderr,), daemon=True).start()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it as systemd does; return its exit status."""
        if self._before:  # which hands no signal on
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            os.kill(int(children[0]), signal.SIGTERM)
        else:
            self.process.terminate()
        return self.process.wait(timeout=WAIT_SECONDS)

    def resident_bytes(self, *, with_children: bool = False) -> int:
        """Return the resident memory of the process that listens, and of the one that segments.

        Libraries, which both map, are counted once: as in the process that maps more of them.
        """
        processes = [self.process.pid]
        if with_children:
            tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
            processes += [int(number) for task in tasks for number in task.read_text().split()]
        own, mapped = 0, [0]
        for number in processes:
            try:
                status = Path(f"/proc/{number}/status").read_text()
            except OSError:  # it has just ended
                continue
            kib = dict(re.findall(r"^(Rss\w+):\s+(\d+) kB", status, re.MULTILINE))
            own += int(kib.get("RssAnon", 0)) + int(kib.get("RssShmem", 0))
            mapped.append(int(kib.get("RssFile", 0)))
        return (own + max(mapped)) * 1024

    def status(self) -> str:
        """Return what `node status` prints."""
        words = [sys.executable, "-m", "embedded_vit", "node", "status", "--store", str(self.store)]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def wait_until(condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """Wait until something is true, and return it; fail if it never is."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"still not so after {seconds} s")


class Sending(threading.Thread):
    """Sends studies, each until it was received; the port changes when the node is started again."""

    def __init__(self, node: RunningNode, archive: Archive, numbers: range) -> None:
        super().__init__(daemon=True)
        self.node, self.archive, self.numbers = node, archive, numbers

    def run(self) -> None:
        for number in self.numbers:
            while number - len(self.archive.objects) > MOST_AHEAD:  # so that kills meet every step
                time.sleep(0.05)
            images = bright_images(f"1.2.{1000 + number}")
            while send(self.node.port, images, caller=f"CT{number % SENDERS}", patience_seconds=2) != [0] * len(images):
                time.sleep(0.1)


def through_kills(node: RunningNode, archive: Archive, count: int, kills: int) -> tuple[list[str], list[int]]:
    """Send studies while a node is killed again and again, and wait until all were sent on and nothing is left of them.

    Returns:
        The studies, and the memory before each kill and at the end, in bytes.
    """
    pauses, memory = random.Random(7), []
    senders = [Sending(node, archive, range(first, count, SENDERS)) for first in range(SENDERS)]
    for sender in senders:
        sender.start()
    for kill in range(kills):
        due = (kill + 1) * count / (kills + 1)  # spread over the whole test
        wait_until(lambda due=due: len(archive.objects) >= due - 1, 300)
        time.sleep(pauses.uniform(0, 0.6))
        memory.append(node.resident_bytes(with_children=True))
        node.kill()
        node.start()
    studies = [f"1.2.{1000 + number}" for number in range(count)]
    wait_until(lambda: all(archive.of(study) for study in studies), 60 + count * 5)
    memory.append(node.resident_bytes(with_children=True))
    wait_until(lambda: not list((node.store / "studies").iterdir()))
    return studies, memory
