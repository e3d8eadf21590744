"""What a node answers to those who send to it; the receiver alone, in this process."""

from __future__ import annotations

import io
import os
import shutil
import socket
import sqlite3
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from node_fixtures import bright_images, echo, make_certificates, send, tls_files, wait_until
from pydicom.uid import CTImageStorage, MRImageStorage
from pynetdicom import AE, _config
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from receiving_fixtures import PLENTY, Bench

from embedded_vit.node.sender import hold_reactor
from embedded_vit.node.settings import Caller, Limits, TlsFiles
from embedded_vit.node.study_queue import read_rows


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start receivers: `bench(free_bytes=..., model={...}, **settings)`."""
    for name in ("LOG_HANDLER_LEVEL", "STORE_RECV_CHUNKED_DATASET"):
        monkeypatch.setattr(_config, name, getattr(_config, name))
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)
    started: list[Bench] = []

    def start(
        free_bytes: int = PLENTY, model: dict[str, Any] | None = None, place: Path = tmp_path, **settings: Any
    ) -> Bench:
        started.append(Bench(place / "store", tmp_path, free_bytes, model, **settings))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_images_are_kept_by_study_and_series(bench: Any) -> None:
    node = bench()
    assert echo(node.port) == 0
    assert send(node.port, bright_images("1.2.10", images=3) + bright_images("1.2.10", "1.2.11", images=2)) == [0] * 5
    assert send(node.port, bright_images("1.2.20", images=2)) == [0, 0]
    rows = read_rows(node.folder.queue_path)
    assert [(row.state, row.sender) for row in rows] == [("receiving", "SCANNER")] * 2
    assert [node.folder.image_count(row.number) for row in rows] == [5, 2]
    assert list(node.folder.incoming.iterdir()) == []


def test_the_file_holds_what_was_sent(bench: Any) -> None:
    import pydicom

    node, image = bench(), bright_images("1.2.10")[1]
    send(node.port, [image])
    (path,) = [path for path in node.folder.images(1).rglob("*") if path.is_file()]
    kept = pydicom.dcmread(path)
    assert (kept.PixelData, kept.SOPInstanceUID) == (image.PixelData, image.SOPInstanceUID)
    assert path.stat().st_mode & 0o077 == 0


def test_a_model_for_mr_takes_mr_and_not_ct(bench: Any) -> None:
    from embedded_vit.preprocessing import Preprocessing

    node = bench(model={"preprocessing": Preprocessing.for_modality("MR", image_size=32, channels=("T1",))})
    assert send(node.port, bright_images("1.2.10", SOPClassUID=CTImageStorage)) == []
    assert send(node.port, bright_images("1.2.10", SOPClassUID=MRImageStorage, Modality="MR")) == [0] * 3


def test_a_full_store_says_so(bench: Any) -> None:
    node = bench(store_bytes=2**20)
    big = bright_images("1.2.10", images=3)
    for image in big:
        image.add_new(0x00091010, "OB", bytes(500 * 2**10))
    assert send(node.port, big) == [0, 0, 0xA700]
    assert node.audit.count("the store is full") == 1
    assert send(node.port, big[:1]) == [0xA700]  # even in place of the same image, as both are there for a moment
    node.folder.remove(1)
    assert send(node.port, big[2:]) == [0]


def test_a_full_disk_says_so(bench: Any) -> None:
    node = bench(free_bytes=2**20)
    assert send(node.port, bright_images("1.2.10")) == [0xA700] * 3
    assert read_rows(node.folder.queue_path) == []
    assert list(node.folder.incoming.iterdir()) == []


def test_an_image_without_a_study_or_under_another_name_is_refused(bench: Any) -> None:
    node, images = bench(), bright_images("1.2.10", images=2)
    del images[0].StudyInstanceUID
    assert send(node.port, images[:1]) == [0xC000]
    assert read_rows(node.folder.queue_path) == []


def test_who_is_not_on_the_list_is_rejected(bench: Any) -> None:
    node = bench(allowed=(Caller.read("CT1@127.0.0.1"), Caller.read("CT2@10.1.2.3")))
    assert send(node.port, bright_images("1.2.10"), caller="CT1") == [0] * 3
    assert send(node.port, bright_images("1.2.20"), caller="CT2") == []
    assert send(node.port, bright_images("1.2.20"), caller="CT1", called="OTHERS") == []
    # The line is written by the node's thread, perhaps after the caller knows.
    wait_until(lambda: '"association rejected", "caller": "CT2", "address": "127.0.0.1"' in node.audit)


def test_an_address_that_is_not_on_the_list_is_not_spoken_to(bench: Any) -> None:
    node = bench(allowed=(Caller.read("CT1@10.1.2.3"),))
    assert echo(node.port, caller="CT1") == -1
    with socket.create_connection(("127.0.0.1", node.port), timeout=5) as client:
        assert client.recv(1) == b""


def closed_after(client: socket.socket, seconds: float) -> float:
    """Return how long the other side takes to close a connection."""
    client.settimeout(seconds)
    began = time.monotonic()
    while client.recv(4096):
        pass
    return time.monotonic() - began


@pytest.mark.parametrize("said", [b"", b"\x01", b"\x01\x00\x00\x00\x00\xff" + bytes(7)])
def test_who_does_not_go_on_is_shut(bench: Any, said: bytes) -> None:
    node = bench(limits=Limits(association_seconds=0.3, pdu_seconds=0.3))
    ended: list[Any] = []
    shut: list[Any] = []

    def watched() -> tuple[list[Any], list[Any]]:
        """Gather what is told: one call may tell of both, as pynetdicom waits no longer than the node."""
        now_ended, now_shut = node.receiver.connections.watch()
        ended.extend(now_ended)
        shut.extend(now_shut)
        return ended, shut

    with socket.create_connection(("127.0.0.1", node.port)) as client:
        client.sendall(said)
        wait_until(lambda: watched()[1])
        assert closed_after(client, 5) < 5
    wait_until(lambda: watched()[0])


def test_a_false_length_of_a_pdu_ends_the_connection_at_once(bench: Any) -> None:
    node = bench()
    with socket.create_connection(("127.0.0.1", node.port)) as client:
        client.sendall(b"\x01\x00\xff\xff\xff\xff")
        assert closed_after(client, 5) < 5
    assert [reason for _, reason in node.receiver.connections.watch()[1]] == ["a PDU that is too long"]


def test_an_object_that_is_too_large_ends_the_association_and_leaves_no_file(bench: Any) -> None:
    node, images = bench(limits=Limits(object_bytes=2**20)), bright_images("1.2.10", images=2)
    images[0].add_new(0x00091010, "OB", bytes(2 * 2**20))
    assert send(node.port, images, patience_seconds=2) == [-1, -1]
    wait_until(lambda: node.receiver.connections.watch()[0])
    assert list(node.folder.incoming.iterdir()) == []
    assert send(node.port, images[1:]) == [0]


def test_a_large_object_takes_nothing_of_a_full_disk_and_is_answered(bench: Any) -> None:
    node, images = bench(free_bytes=2**20, limits=Limits(object_bytes=2**30)), bright_images("1.2.10", images=1)
    images[0].add_new(0x00091010, "OB", bytes(20 * 2**20))
    assert send(node.port, images) == [0xA700]
    wait_until(lambda: node.receiver.connections.watch()[0])
    assert list(node.folder.incoming.iterdir()) == []
    assert node.audit.count("the store is full") == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_what_a_disk_that_fills_up_meanwhile_does_not_take_is_not_answered_with_success(
    bench: Any, small_disk: Path
) -> None:
    node = bench(place=small_disk, store_bytes=2**30)  # which believes that there is plenty of room
    images = bright_images("1.2.10", images=8)
    for image in images:
        image.add_new(0x00091010, "OB", bytes(200 * 2**10))
    answers = [send(node.port, [image], patience_seconds=5) for image in images]
    kept = answers.count([0])
    assert 1 <= kept <= 4
    assert [0] not in answers[kept:]
    wait_until(lambda: not list(node.folder.incoming.iterdir()))
    assert node.folder.image_count(1) == kept
    node.folder.remove(1)
    assert send(node.port, images[-1:]) == [0]


def test_a_queue_that_cannot_be_written_is_a_full_disk_too(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    node = bench()
    with monkeypatch.context() as full:
        full.setattr(node.queue, "begin", fail)
        assert send(node.port, bright_images("1.2.10")) == [0xA700] * 3
    assert "OperationalError at " in node.audit
    assert send(node.port, bright_images("1.2.10")) == [0] * 3


def test_an_image_without_a_data_set_is_refused(bench: Any) -> None:
    node, entity = bench(), AE("SCANNER")
    entity.add_requested_context(CTImageStorage, "1.2.840.10008.1.2.1")
    association = entity.associate("127.0.0.1", node.port, ae_title="EMBEDDEDVIT")
    request = C_STORE()
    request.MessageID, request.AffectedSOPClassUID = 1, CTImageStorage
    request.AffectedSOPInstanceUID, request.Priority = "1.2.3", 2
    hold_reactor(association)
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, answer = association.dimse.get_msg(block=True)
    association.abort()
    assert answer.Status == 0xC000
    assert send(node.port, bright_images("1.2.10")) == [0] * 3


def test_a_mistake_in_the_code_is_logged_by_its_place_and_without_its_words(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("Doe^Jane")

    node = bench()
    monkeypatch.setattr(node.folder, "keep", fail)
    assert send(node.port, bright_images("1.2.10", images=1)) == [0xC000]
    assert '"reason": "KeyError at test_receiver.py:' in node.audit
    assert "Doe" not in node.audit


def test_who_is_not_on_the_list_is_rejected_when_the_audit_log_cannot_be_written(bench: Any) -> None:
    node = bench(allowed=(Caller.read("CT1@127.0.0.1"),))
    (node.folder.path / "audit.log").mkdir()
    assert send(node.port, bright_images("1.2.20"), caller="CT2") == []
    assert send(node.port, bright_images("1.2.20"), caller="CT1") == [0] * 3


def test_half_an_object_is_removed_when_its_sender_is_gone(bench: Any) -> None:
    node, image = bench(), bright_images("1.2.10", images=1)[0]
    entity = AE("SCANNER")
    entity.add_requested_context(CTImageStorage, "1.2.840.10008.1.2.1")
    association = entity.associate("127.0.0.1", node.port, ae_title="EMBEDDEDVIT")
    request = C_STORE()
    request.MessageID, request.AffectedSOPClassUID = 1, image.SOPClassUID
    request.AffectedSOPInstanceUID, request.Priority = image.SOPInstanceUID, 2
    request.DataSet = io.BytesIO(bytes(1000))
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    command, *_ = message.encode_msg(association.accepted_contexts[0].context_id, 500)
    association.dul.send_pdu(command)
    wait_until(lambda: list(node.folder.incoming.iterdir()))
    association.abort()
    wait_until(lambda: node.receiver.connections.watch()[0])
    assert list(node.folder.incoming.iterdir()) == []


def test_an_idle_association_makes_room(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from embedded_vit.node import connections

    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.2)
    node = bench(limits=Limits(connections=1))
    entity = AE("SLEEPER")
    entity.add_requested_context(CTImageStorage)
    sleeper = entity.associate("127.0.0.1", node.port, ae_title="EMBEDDEDVIT")
    assert sleeper.is_established
    time.sleep(0.3)
    assert send(node.port, bright_images("1.2.10")) == [0] * 3
    wait_until(lambda: not sleeper.is_established)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of a node and of a sender, and a stranger's."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def client_tls(folder: Path, name: str) -> tuple[ssl.SSLContext, str]:
    context = ssl.create_default_context(cafile=str(folder / "authority.pem"))
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context, "localhost"


def test_tls_takes_only_certificates_of_the_authority(bench: Any, certificates: Path) -> None:
    node = bench(tls=tls_files(certificates, "node"))
    with socket.create_connection(("127.0.0.1", node.port)):  # says nothing: nobody waits for its handshake
        assert send(node.port, bright_images("1.2.10"), tls=client_tls(certificates, "sender")) == [0] * 3
        assert send(node.port, bright_images("1.2.20"), tls=client_tls(certificates, "stranger")) in ([], [-1] * 3)
    assert len(read_rows(node.folder.queue_path)) == 1
    reasons = [reason for _, reason in node.receiver.connections.watch()[1]]
    assert any("the certificate is not accepted" in reason for reason in reasons), reasons


def test_files_that_are_no_certificates_are_refused_in_one_line(tmp_path: Path) -> None:
    from embedded_vit.errors import ConfigError
    from embedded_vit.node.tls import server_context

    (tmp_path / "x.pem").write_text("nothing")
    files = TlsFiles(certificate=tmp_path / "x.pem", key=tmp_path / "x.pem", authority=tmp_path / "x.pem")
    with pytest.raises(ConfigError, match=f"--tls {tmp_path / 'x.pem'}"):
        server_context(files)
    assert server_context(None) is None
    assert os.listdir(tmp_path) == ["x.pem"]


def test_a_key_with_a_password_or_of_another_certificate_is_refused_and_nobody_is_asked(
    certificates: Path, tmp_path: Path
) -> None:
    from embedded_vit.errors import ConfigError
    from embedded_vit.node.tls import server_context

    files, locked = tls_files(certificates, "node"), tmp_path / "locked.key"
    words = ["openssl", "ec", "-aes256", "-passout", "pass:secret", "-in", str(files.key), "-out", str(locked)]
    subprocess.run(words, check=True, capture_output=True)
    for key in (locked, certificates / "sender.key"):
        with pytest.raises(ConfigError, match="expected a certificate and its key, without a password"):
            server_context(files.model_copy(update={"key": key}))
