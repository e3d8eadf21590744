"""How a node sends results to an archive: over TLS or not, and what it says of an archive that it cannot reach."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from node_fixtures import (
    Archive,
    RunningNode,
    bright_images,
    make_certificates,
    send,
    tls_files,
    wait_until,
    write_model,
)
from pydicom.uid import SecondaryCaptureImageStorage
from test_receiver import client_tls

from embedded_vit.node.sender import Sender, SendError
from embedded_vit.node.settings import Destination, NodeSettings
from embedded_vit.node.tls import server_context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of a node and of archives."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def archive() -> Iterator[Any]:
    """Start archives: `archive(TLS context)`."""
    started: list[Archive] = []

    def start(tls: Any = None) -> Archive:
        started.append(Archive(tls=tls))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A file that an archive takes."""
    (image,) = bright_images("1.2.10", images=1, SOPClassUID=SecondaryCaptureImageStorage)
    image.save_as(tmp_path / "result.dcm", enforce_file_format=True)
    return tmp_path / "result.dcm"


def sender(port: int, certificates: Path | None = None, name: str = "node", host: str = "127.0.0.1") -> Sender:
    tls = {} if certificates is None else {"tls": tls_files(certificates, name), "send_with_tls": True}
    settings = {"send_to": Destination(ae_title="ARCHIVE", host=host, port=port), **tls}
    return Sender(NodeSettings.parse(settings, source="the test"))


def test_a_result_goes_over_tls(archive: Any, certificates: Path, result: Path) -> None:
    pacs = archive(server_context(tls_files(certificates, "archive")))
    assert sender(pacs.port, certificates).send([result]) == list(pacs.objects)
    assert len(pacs.objects) == 1


def test_what_is_wrong_with_tls_is_said_in_one_line(archive: Any, certificates: Path, result: Path) -> None:
    trusting = server_context(tls_files(certificates, "archive"))
    stranger = server_context(tls_files(certificates, "stranger"))
    elsewhere = server_context(tls_files(certificates, "elsewhere"))
    for server, name, reason in (
        (stranger, "node", "no TLS with the archive: the certificate is not accepted: self.signed certificate$"),
        (elsewhere, "node", "no TLS with the archive: the certificate is not accepted: IP address mismatch"),
        (trusting, "stranger", "the archive ended the connection before .* it may not accept our certificate$"),
        (None, "node", "no TLS with the archive: "),
    ):
        pacs = archive(server)
        with pytest.raises(SendError, match=reason) as caught:
            sender(pacs.port, certificates, name).send([result])
        assert "\n" not in str(caught.value)
        assert pacs.objects == {}


def test_an_archive_that_expects_tls_or_is_not_there_is_named(archive: Any, certificates: Path, result: Path) -> None:
    pacs = archive(server_context(tls_files(certificates, "archive")))
    with pytest.raises(SendError, match=r"it may expect TLS \(--send-tls\)"):
        sender(pacs.port).send([result])
    gone = Archive()
    gone.stop()
    with pytest.raises(SendError, match=rf"^no connection to the archive at 127\.0\.0\.1:{gone.port}$"):
        sender(gone.port).send([result])


def test_a_node_speaks_tls_to_both_sides(archive: Any, certificates: Path, tmp_path: Path) -> None:
    pacs, files = archive(server_context(tls_files(certificates, "archive"))), tls_files(certificates, "node")
    options = ("--tls", str(files.certificate), str(files.key), str(files.authority), "--send-tls", "--quiet", "0")
    node = RunningNode(write_model(tmp_path / "model.onnx"), pacs.port, tmp_path / "store", *options)
    assert send(node.port, bright_images("1.2.10")) == []  # without TLS
    assert send(node.port, bright_images("1.2.10"), tls=client_tls(certificates, "sender")) == [0] * 3
    (segmentation,) = wait_until(lambda: pacs.of("1.2.10"))
    assert segmentation.Modality == "SEG"
    assert node.stop() == 0
