"""The connections of a node, and what none of them may do: take slots, memory or time that others need.

pynetdicom waits without end for the rest of a PDU, believes whatever length it announces, and counts connections that
never asked for an association. So every connection is watched here: one that does not go on is shut, which ends
pynetdicom's threads for it, and when all slots are taken, the one that does least makes room for a new one.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from pynetdicom.association import Association

from embedded_vit.node.settings import Limits

__all__ = ["Connection", "Connections"]

IDLE_SECONDS = 2  # then an association may have to make room for a new connection


@dataclass(eq=False)
class Connection:
    """One connection.

    Attributes:
        socket: Its socket.
        address: The IP address of the other side.
        association: pynetdicom's threads for it, once they run.
        began: When it was made; this time and others are of `time.monotonic`.
        progress: When the last PDU ended.
        pdu_began: When the PDU that is being read began; None between PDUs.
        studies: The numbers of the studies that it sent images of.
        images: How many of its images were answered with Success.
        is_over: Whether it was given up before it became an association.
        shut_for: Why this side has shut it; empty while it has not.
        is_told: Whether `Connections.watch` has told of that.
        discard: Removes what was received of it and not answered; called when it has ended.
    """

    socket: socket.socket
    address: str
    association: Association | None = None
    began: float = field(default_factory=time.monotonic)
    progress: float = field(default_factory=time.monotonic)
    pdu_began: float | None = None
    studies: set[int] = field(default_factory=set)
    images: int = 0
    is_over: bool = False
    shut_for: str = ""
    is_told: bool = False
    discard: Callable[[], None] = lambda: None

    @property
    def is_established(self) -> bool:
        """Whether it has an association."""
        return self.association is not None and self.association.is_established

    @property
    def is_shut(self) -> bool:
        """Whether this side has shut it."""
        return bool(self.shut_for)

    @property
    def has_begun(self) -> bool:
        """Whether threads of pynetdicom run for it, or have run."""
        return self.association is not None and self.association.ident is not None

    @property
    def has_ended(self) -> bool:
        """Whether nothing runs for it any more."""
        return self.is_over or (self.has_begun and self.association is not None and not self.association.is_alive())

    def shut(self, reason: str) -> None:
        """Shut it; whoever waits for the other side stops waiting.

        Args:
            reason: For the audit log; no text of what was sent.
        """
        self.shut_for = self.shut_for or reason
        with suppress(OSError):
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)  # of TLS too, whose own one waits for the other side
        association = self.association
        if association is not None and association.requestor.primitive is None:
            association.dul.to_user_queue.put(None)  # it waits for a request, and has its threads ask all the time

    def close(self, reason: str) -> None:
        """Give it up, as `shut`; no association uses it."""
        self.shut(reason)
        with suppress(OSError):
            self.socket.close()
        self.is_over = True

    def overdue(self, now: float, limits: Limits) -> str:
        """Return why it has to be shut, or an empty text."""
        if self.pdu_began is not None and now - self.pdu_began > limits.pdu_seconds:
            return "a PDU did not end"
        if not self.is_established and now - self.began > limits.association_seconds:
            return "no association"
        if now - self.progress > limits.idle_seconds and self.pdu_began is None:
            return "idle"
        return ""


class Connections:
    """All connections of a node; any thread may call."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._lock = limits, threading.Lock()
        self._all: list[Connection] = []

    def admit(self, client: socket.socket, address: str) -> Connection | None:
        """Take a new connection, for which another one may be shut; None where none can be."""
        with self._lock:
            open_ones = [connection for connection in self._all if not connection.has_ended and not connection.is_shut]
            if len(open_ones) >= self._limits.connections:
                victim = _least_useful(open_ones)
                if victim is None:
                    return None
                victim.shut("idle, and another one came")
            connection = Connection(client, address)
            self._all.append(connection)
            return connection

    def of(self, association: Association) -> Connection:
        """Return the connection of an association."""
        with self._lock:
            return next(connection for connection in self._all if connection.association is association)

    def sending(self, number: int) -> bool:
        """Whether a connection is open that sent images of a study."""
        with self._lock:
            return any(number in connection.studies for connection in self._all)

    def watch(self) -> tuple[list[Connection], list[tuple[Connection, str]]]:
        """Shut what is overdue, and forget what has ended.

        Returns:
            Connections that have ended since the last call; those that were shut since then, and why.
        """
        now, shut = time.monotonic(), []
        with self._lock:
            for connection in self._all:
                reason = "" if connection.is_shut else connection.overdue(now, self._limits)
                if reason:
                    connection.shut(reason)
                if connection.is_shut and not connection.is_told:
                    connection.is_told = True
                    shut.append((connection, connection.shut_for))
            ended = [connection for connection in self._all if connection.has_ended]
            self._all = [connection for connection in self._all if connection not in ended]
        for connection in ended:
            connection.discard()
        return ended, shut

    def shut_all(self) -> None:
        """Shut every connection."""
        with self._lock:
            for connection in self._all:
                connection.shut("the node ends")


def _least_useful(connections: list[Connection]) -> Connection | None:
    """Return the one that waits longest for an association; where none waits, the one that idles longest, if any."""
    waiting = [connection for connection in connections if not connection.is_established]
    if waiting:
        return min(waiting, key=lambda connection: connection.began)
    idlest = min(connections, key=lambda connection: connection.progress)
    return idlest if time.monotonic() - idlest.progress > IDLE_SECONDS else None
