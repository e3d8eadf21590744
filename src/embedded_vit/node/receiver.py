"""What a node answers: C-ECHO, and C-STORE of the images that its model is made for.

An image is answered with Success when it and its study's row are on the disk. pynetdicom writes each object to a file
in `incoming` while it comes, so that no object is ever in memory; here it is looked at and moved to its study.
"""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from embedded_vit.errors import EmbeddedVitError
from embedded_vit.io.dicom.header import read_tags
from embedded_vit.io.dicom.syntaxes import readable_syntaxes
from embedded_vit.node.audit import kind_and_place
from embedded_vit.node.connections import Connections
from embedded_vit.node.guarded_server import GuardedServer, Nowhere
from embedded_vit.node.shared import Shared
from embedded_vit.node.study_folder import short_digest
from embedded_vit.node.tls import server_context

__all__ = ["Receiver"]

# Image storage, and enhanced image storage (PS3.4 section B.5).
SOP_CLASSES = {
    "CT": ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"),
    "MR": ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"),
}
SUCCESS, OUT_OF_RESOURCES, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000  # PS3.4 table B.2-1
REJECTED_FOR_EVER, BY_USER, CALLER_NOT_RECOGNISED = 0x01, 0x01, 0x03  # PS3.8 table 9-21
MOST_UID_CHARACTERS = 64
ROOM_BYTES = 64 * 2**20  # of the disk that images leave free
MORE_THAN_WE_ADMIT = 10_000  # `Connections` counts them, not pynetdicom


class Receiver:
    """The side of a node that listens."""

    def __init__(self, shared: Shared, free_bytes: Callable[[Path], int]) -> None:
        """Prepare to listen.

        Args:
            shared: What all parts of the node share.
            free_bytes: Returns the room on the disk that a path lies on.
        """
        self._settings, self._folder, self._queue = shared.settings, shared.folder, shared.queue
        self._models, self._audit, self._free_bytes = shared.models, shared.audit, free_bytes
        self.connections = Connections(shared.settings.limits)
        self.lock = threading.Lock()  # a study is not closed while an image finds its place in it
        self._server: GuardedServer | None = None
        self._was_full = False

    def start(self) -> int:
        """Begin to listen; return the port.

        Raises:
            OSError: The address cannot be listened at.
            ConfigError: The files of TLS cannot be used.
        """
        _config.LOG_HANDLER_LEVEL = "none"  # its lines quote what was sent
        _config.STORE_RECV_CHUNKED_DATASET = True
        tempfile.tempdir = str(self._folder.incoming)  # where pynetdicom puts objects that it receives
        entity = AE(self._settings.ae_title)
        entity.require_called_aet = True
        entity.maximum_pdu_size = self._settings.limits.pdu_bytes
        entity.maximum_associations = MORE_THAN_WE_ADMIT
        entity.acse_timeout = self._settings.limits.association_seconds
        entity.add_supported_context(Verification)
        for sop_class in SOP_CLASSES[self._models.current().modality]:
            entity.add_supported_context(sop_class, readable_syntaxes())
        server = entity.make_server(
            (self._settings.host, self._settings.port),
            ssl_context=server_context(self._settings.tls),
            evt_handlers=[(evt.EVT_REQUESTED, self._on_request), (evt.EVT_C_STORE, self._on_image)],
            server_class=GuardedServer,
            connections=self.connections,
            limits=self._settings.limits,
            may_connect=self._settings.may_connect,
            has_room=lambda: self._free_bytes(self._folder.incoming) > ROOM_BYTES,
        )
        assert isinstance(server, GuardedServer)
        entity._servers.append(server)  # which its shutdown takes out again
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        self._server = server
        return int(server.server_address[1])

    def stop(self) -> None:
        """Stop listening, and end all associations."""
        if self._server is not None:
            self._server.shutdown()
        self.connections.shut_all()

    def _on_request(self, event: Event) -> None:
        """Reject whoever is not on the list."""
        association = event.assoc
        primitive = association.requestor.primitive
        caller = str(primitive.calling_ae_title if primitive is not None else "")
        address = str(association.requestor.address)
        if not self._settings.may_send(caller, address):
            association.acse.send_reject(REJECTED_FOR_EVER, BY_USER, CALLER_NOT_RECOGNISED)
            association.kill()
            self._audit.write("association rejected", caller=caller, address=address)

    def _on_image(self, event: Event) -> int:
        """Keep an image; return the status of the answer."""
        request: Any = event.request
        if request._dataset_file is None:  # the request came alone
            return CANNOT_UNDERSTAND
        received = Path(event.dataset_path)
        try:
            if isinstance(request._dataset_file, Nowhere):
                self._tell_full()
                return OUT_OF_RESOURCES
            return self._keep(event, received)
        except OSError as error:
            self._audit.write("an image could not be kept", reason=error.strerror or type(error).__name__)
            return OUT_OF_RESOURCES
        except Exception as error:  # pynetdicom answers with C211, and says nothing
            self._audit.write("an image could not be kept", reason=kind_and_place(error))
            return OUT_OF_RESOURCES if isinstance(error, sqlite3.Error) else CANNOT_UNDERSTAND
        finally:
            request._dataset_file.close()
            received.unlink(missing_ok=True)

    def _keep(self, event: Event, received: Path) -> int:
        keywords = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
        try:
            tags = read_tags(received, keywords)
            sop_class, instance, study, series = (str(tags.get(keyword) or "") for keyword in keywords)
        except EmbeddedVitError:
            return CANNOT_UNDERSTAND
        if not all(0 < len(uid) <= MOST_UID_CHARACTERS for uid in (instance, study, series)):
            return CANNOT_UNDERSTAND
        request: Any = event.request
        if (sop_class, instance) != (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)):
            return DOES_NOT_MATCH
        size = received.stat().st_size
        with self._folder.reserved(size) as fits:
            if not fits or self._free_bytes(received) < ROOM_BYTES + size:
                self._tell_full()
                return OUT_OF_RESOURCES
            self._was_full = False
            connection = self.connections.of(event.assoc)
            with self.lock:
                version = self._models.current()
                sender = str(event.assoc.requestor.ae_title).strip()
                number = self._queue.begin(short_digest(study), sender, version.name, version.sha256)
                connection.studies.add(number)
            self._folder.keep(received, number, series, instance)
        connection.images += 1
        return SUCCESS

    def _tell_full(self) -> None:
        """Note that there is no room, once until there is again."""
        if not self._was_full:
            self._audit.write("the store is full", store_bytes=self._settings.store_bytes)
        self._was_full = True
