"""pynetdicom's server with limits: on connections, on the length of PDUs, commands and objects, on time and on disk."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from embedded_vit.node.audit import kind_and_place
from embedded_vit.node.connections import Connection, Connections
from embedded_vit.node.settings import Limits
from embedded_vit.node.tls import tls_failure

__all__ = ["GuardedServer", "Nowhere"]

HEADER_BYTES = 6  # of a PDU: type, nothing, length
LONGEST_REQUEST = 256 * 2**10  # of an association with 128 contexts of many syntaxes; no PDU of data is longer
LOOK_BYTES = 2 * 2**20  # after so much of an object it is seen whether the disk has room for more
WAITING_MESSAGES = 4  # a sender waits for the answer to each
IS_COMMAND = 1  # the bit of a fragment's header (PS3.8 section E.2)


class GuardedServer(ThreadedAssociationServer):
    """Accepts connections; each handshake and each association has a thread of its own."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(
        self,
        *arguments: Any,
        connections: Connections,
        limits: Limits,
        may_connect: Callable[[str], bool],
        has_room: Callable[[], bool],
        **more: Any,
    ) -> None:
        self.connections, self.limits = connections, limits
        self._may_connect, self.has_room = may_connect, has_room
        super().__init__(*arguments, **more)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; without the handshake of TLS, for which the others would have to wait."""
        return cast(socket.socket, self.socket).accept()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the address may connect."""
        return self._may_connect(client_address[0])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection to a thread."""
        connection = self.connections.admit(request, client_address[0])
        if connection is None:
            self.shutdown_request(request)
            return
        threading.Thread(target=self._begin, args=(connection, client_address), daemon=True).start()

    def _begin(self, connection: Connection, client_address: Any) -> None:
        """Do the handshake of TLS, if there is one, and start the association's threads."""
        try:
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.ssl_context is not None:
                plain = connection.socket
                wrapped = self.ssl_context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
                connection.socket = wrapped
                wrapped.do_handshake()
            _GuardedHandler(connection.socket, client_address, self, connection)
        except OSError as error:
            connection.close(f"no connection: {tls_failure(error)}")
        except RuntimeError:  # the system has no thread for it
            connection.close("too many threads")
        finally:
            if not connection.has_begun:
                connection.close("no association could be made")


class _GuardedHandler(RequestHandler):
    """Makes the association of a connection."""

    def __init__(
        self, request: Any, client_address: Any, server: GuardedServer, connection: Connection | None = None
    ) -> None:
        assert connection is not None
        self._connection, self._limits, self._has_room = connection, server.limits, server.has_room
        super().__init__(request, client_address, server)

    def _create_association(self) -> Association:
        association = super()._create_association()
        plain = association.dul.socket
        assert isinstance(plain, AssociationSocket)
        association.dul.socket = _GuardedSocket(plain, self._connection, self._limits)
        dimse = _BoundedDimse(association, self._connection, self._limits, self._has_room)
        association.dimse, self._connection.discard = dimse, dimse.discard
        return association

    def handle(self) -> None:
        """Start the association, and have it watched."""
        association = self._create_association()
        self._connection.association = association
        association.start()


class _GuardedSocket(AssociationSocket):
    """Takes the place of a socket that pynetdicom made: no long PDU is read, and it is known when one began."""

    def __init__(self, plain: AssociationSocket, connection: Connection, limits: Limits) -> None:
        self.__dict__.update(vars(plain))
        self._connection, self._longest, self._is_body = connection, max(limits.pdu_bytes, LONGEST_REQUEST), False

    def recv(self, nr_bytes: int) -> bytearray:
        """Read a header, or the rest of a PDU.

        Raises:
            OSError: It is too long, or the connection is lost.
        """
        if nr_bytes > self._longest:
            self._connection.shut("a PDU that is too long")
            raise OSError("a PDU that is too long")
        if self._connection.pdu_began is None:
            self._connection.pdu_began = time.monotonic()
        content = super().recv(nr_bytes)
        if self._is_body or len(content) < HEADER_BYTES:
            self._connection.pdu_began, self._connection.progress = None, time.monotonic()
        self._is_body = not self._is_body
        return content


class Nowhere:
    """Stands for the file of an object that the disk has no room for, which is read to its end and then refused."""

    def __init__(self, name: str) -> None:
        self.name, self.file = name, self

    def write(self, content: bytes) -> None:
        """Drop it."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class _BoundedDimse(DIMSEServiceProvider):
    """Puts messages together from fragments, of commands and objects that are not too long."""

    def __init__(
        self, association: Association, connection: Connection, limits: Limits, has_room: Callable[[], bool]
    ) -> None:
        super().__init__(association)
        self._connection, self._limits, self._has_room = connection, limits, has_room
        self._command_bytes = self._object_bytes = 0

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take fragments; what breaks a rule ends the connection."""
        if self._connection.is_shut:
            return
        before = self._object_bytes
        try:
            for _, fragment in primitive.presentation_data_value_list:
                if fragment[0] & IS_COMMAND:
                    self._command_bytes += len(fragment)
                else:
                    self._object_bytes += len(fragment)
            reason = self._too_much()
            if reason:
                self._give_up(reason)
                return
            if before == 0 or self._object_bytes // LOOK_BYTES > before // LOOK_BYTES:
                self._look_for_room()
            super().receive_primitive(primitive)
        except OSError as error:
            self._give_up(f"what was sent cannot be written: {error.strerror or type(error).__name__}")
        except Exception as error:  # pynetdicom raises whatever an odd fragment leads to, and its thread would end
            self._give_up(f"what was sent is not DICOM: {kind_and_place(error)}")
        if self.message is None:
            self._command_bytes = self._object_bytes = 0

    def _too_much(self) -> str:
        """Return which limit is passed; an empty text if none is."""
        if self._command_bytes > self._limits.command_bytes:
            return "a command that is too long"
        if self._object_bytes > self._limits.object_bytes:
            return "an object that is too large"
        return "more messages than answers" if self.msg_queue.qsize() > WAITING_MESSAGES else ""

    def _look_for_room(self) -> None:
        """Where the disk has no room, let what is still to come of an object go nowhere."""
        message: Any = self.message
        file = None if message is None else message._data_set_file
        if file is not None and not isinstance(file, Nowhere) and not self._has_room():
            message._data_set_file = Nowhere(file.name)
            _remove(file)

    def _give_up(self, reason: str) -> None:
        self._connection.shut(reason)
        self.discard()

    def discard(self) -> None:
        """Remove the files of objects that were not received to their end, or that nobody will answer any more."""
        files: list[Any] = [] if self.message is None else [self.message._data_set_file]
        self.message = None
        while not self.msg_queue.empty():
            files.append(getattr(self.msg_queue.get()[1], "_dataset_file", None))
        for file in files:
            if file is not None:
                _remove(file)


def _remove(file: Any) -> None:
    with suppress(OSError):  # closing writes what is left, for which there may be no room; or it is gone already
        file.close()
    with suppress(OSError):
        os.unlink(file.name)
