"""The side of a node that sends: results to the archive, by C-STORE."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pynetdicom import AE, _config, evt
from pynetdicom.association import Association

from embedded_vit.io.dicom.header import read_tags
from embedded_vit.node.settings import NodeSettings
from embedded_vit.node.tls import client_context

__all__ = ["SendError", "Sender", "hold_reactor"]

EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"  # what results are written in
CONNECT_SECONDS = 10
FIRST_PATIENCE_SECONDS, MOST_PATIENCE_SECONDS = 15, 240  # for an answer
HOLD_SECONDS = 0.02
MOST_SECONDS = 900  # for one association
WARNINGS = range(0xB000, 0xC000)  # stored, with remarks (PS3.4 table B.2-1)


class SendError(Exception):
    """The archive did not take a result; the message holds no text of it."""


def hold_reactor(association: Association) -> None:
    """Have pynetdicom's own thread of an association rest before something is sent.

    `send_c_store` does that too, but goes on a moment too early: on a busy computer that thread then takes the answer
    away, and the sender waits in vain.
    """
    association._reactor_checkpoint.clear()
    while association.is_established and not association._is_paused:
        time.sleep(HOLD_SECONDS)
    time.sleep(HOLD_SECONDS)


class Sender:
    """Sends files to the archive."""

    def __init__(self, settings: NodeSettings) -> None:
        """Prepare to send.

        Raises:
            ConfigError: The files of TLS cannot be used.
        """
        _config.STORE_SEND_CHUNKED_DATASET = True  # as they lie on the disk
        self._settings = settings
        self._tls = client_context(settings.tls) if settings.send_with_tls else None
        self._association: Association | None = None
        self._began = 0.0

    def send(self, files: Sequence[Path], attempts: int = 0) -> list[str]:
        """Send files in one association; what was stored before is stored over, as it has the same UID.

        Args:
            files: DICOM files.
            attempts: How often it was tried before; each time it waits longer for an answer.

        Returns:
            The SOP instance UIDs.

        Raises:
            SendError: One of them was not stored.
        """
        entity = AE(self._settings.ae_title)
        patience_seconds = min(FIRST_PATIENCE_SECONDS * 2 ** min(attempts, 8), MOST_PATIENCE_SECONDS)
        entity.connection_timeout, entity.acse_timeout = CONNECT_SECONDS, patience_seconds
        entity.dimse_timeout = entity.network_timeout = patience_seconds
        headers = [read_tags(path, ["SOPClassUID", "SOPInstanceUID"]) for path in files]
        for sop_class in dict.fromkeys(str(header.SOPClassUID) for header in headers):
            entity.add_requested_context(sop_class, EXPLICIT_LITTLE_ENDIAN)
        self._began = time.monotonic()
        try:
            self._association = association = self._associate(entity)
            try:
                for path in files:
                    self._send_one(association, path)
            finally:
                association.release()
        except (OSError, RuntimeError) as error:
            raise SendError(f"no connection to the archive: {type(error).__name__}") from error
        finally:
            self._association, self._began = None, 0.0
        return [str(header.SOPInstanceUID) for header in headers]

    def watch(self) -> None:
        """End an association that takes too long: pynetdicom waits without end for the rest of a PDU."""
        association, began = self._association, self._began
        if association is not None and began and time.monotonic() - began > MOST_SECONDS:
            transport = association.dul.socket
            if transport is not None and transport.socket is not None:
                with suppress(OSError):
                    socket.socket.shutdown(transport.socket, socket.SHUT_RDWR)

    def _associate(self, entity: AE) -> Association:
        """Ask for an association.

        Raises:
            SendError: There is none; the message says how far it came.
        """
        destination, opened = self._settings.send_to, threading.Event()
        if self._tls is not None:
            self._tls.failure = ""
        association = entity.associate(
            destination.host,
            destination.port,
            ae_title=destination.ae_title,
            tls_args=None if self._tls is None else (self._tls, destination.host),
            evt_handlers=[(evt.EVT_CONN_OPEN, lambda event: opened.set())],
        )
        if association.is_established:
            return association
        if association.is_rejected:
            raise SendError("the archive rejected the association; it may not know our AE title")
        if self._tls is not None and self._tls.failure:
            raise SendError(f"no TLS with the archive: {self._tls.failure}")
        if not opened.is_set():
            raise SendError(f"no connection to the archive at {destination.host}:{destination.port}")
        hint = "it may expect TLS (--send-tls)" if self._tls is None else "it may not accept our certificate"
        raise SendError(f"the archive ended the connection before there was an association; {hint}")

    def _send_one(self, association: Association, path: Path) -> None:
        hold_reactor(association)
        try:
            answer = association.send_c_store(path)
        except (ValueError, AttributeError) as error:  # no context for it was accepted
            raise SendError("the archive does not take this kind of object") from error
        status = answer.get("Status") if "Status" in answer else None
        if status is None:
            raise SendError("the archive did not answer")
        if status != 0 and status not in WARNINGS:
            raise SendError(f"the archive answered with status {int(status):04X}")
