"""The settings of a DICOM node: who may send to it, where results go, and what it may take of the computer."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from embedded_vit.config import Config
from embedded_vit.errors import ConfigError

__all__ = ["Caller", "Destination", "Limits", "NodeSettings", "ResultKinds", "TlsFiles", "default_folder"]

ResultKinds = Literal["dicom-seg", "sc", "all"]

AE_TITLE = re.compile(r"(?=.*[!-~])[ -\[\]-~]{1,16}")  # PS3.5 section 6.2: no backslash, no control character
HIGHEST_PORT = 65535
LOOPBACK = ("127.0.0.0/8", "::1/128", "::ffff:127.0.0.0/104")


def _ae_title(text: str, source: str) -> str:
    title = text.strip(" ")
    if not AE_TITLE.fullmatch(title):
        raise ConfigError(f"{source}: '{text}' is not an AE title; expected 1 to 16 ASCII characters without backslash")
    return title


class Destination(Config):
    """The archive that results are sent to."""

    ae_title: str
    host: str
    port: int = Field(ge=1, le=HIGHEST_PORT)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read `AET@HOST:PORT`; an IPv6 address stands in brackets.

        Raises:
            ConfigError: It is something else.
        """
        title, _, place = text.partition("@")
        host, _, port = place.rpartition(":")
        if not title or not host or not port.isascii() or not port.isdecimal():
            raise ConfigError(f"--send-to '{text}': expected AET@HOST:PORT, for example ORTHANC@127.0.0.1:4242")
        values = {"ae_title": _ae_title(title, "--send-to"), "host": host.strip("[]"), "port": int(port)}
        return cls.parse(values, source="--send-to")


class Caller(Config):
    """Who may send to the node: an AE title at an address, or at any of a network."""

    ae_title: str
    networks: tuple[str, ...] = Field(description="of IP addresses, as 10.1.2.0/24")

    @classmethod
    def read(cls, text: str) -> Self:
        """Read `AET@HOST`: HOST is a name, an address, or a network as 10.1.2.0/24.

        Raises:
            ConfigError: It is something else, or nobody knows the name.
        """
        title, _, host = text.partition("@")
        if not title or not host:
            raise ConfigError(f"--allow '{text}': expected AET@HOST, for example SCANNER1@10.1.2.3")
        try:
            found = [str(ipaddress.ip_network(host, strict=False))]
        except ValueError:
            try:
                found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None)})
            except OSError as error:
                raise ConfigError(f"--allow '{text}': no address is known of {host}; give its IP address") from error
        return cls(ae_title=_ae_title(title, "--allow"), networks=tuple(found))

    def is_at(self, address: str) -> bool:
        """Whether an address is one of this caller's."""
        return _is_in(address, self.networks)


def _is_in(address: str, networks: tuple[str, ...]) -> bool:
    there = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(there, "ipv4_mapped", None)  # how a socket of both families shows an IPv4 address
    return any(place in ipaddress.ip_network(network) for network in networks for place in (there, mapped) if place)


class TlsFiles(Config):
    """The files of DICOM TLS, all PEM."""

    certificate: Path
    key: Path
    authority: Path = Field(description="certificates of those who sign the certificates of others")


class Limits(Config):
    """What a sender may take of the node: connections, bytes, seconds."""

    connections: int = Field(default=32, ge=1, description="open at the same time")
    pdu_bytes: int = Field(default=128 * 2**10, ge=4096, description="longest PDU; also what senders are told")
    command_bytes: int = Field(default=64 * 2**10, description="longest DIMSE command")
    object_bytes: int = Field(default=2**30, description="largest DICOM object")
    association_seconds: float = Field(default=10, description="from the connection to the request of an association")
    pdu_seconds: float = Field(default=30, description="from a PDU's first byte to its last")
    idle_seconds: float = Field(default=60, description="from one PDU to the next")


class NodeSettings(Config):
    """Everything that a node is told but its model and its folder."""

    ae_title: str = "EMBEDDEDVIT"
    host: str = Field(default="127.0.0.1", description="the address that is listened at")
    port: int = Field(default=11112, ge=0, le=HIGHEST_PORT)
    send_to: Destination
    allowed: tuple[Caller, ...] = Field(default=(), description="empty: any AE title, from this computer only")
    results: ResultKinds = "dicom-seg"
    quiet_seconds: float = Field(default=30, ge=0, description="after the last association of a study was released")
    interrupted_seconds: float = Field(default=300, ge=0, description="the same where it was aborted")
    store_bytes: int = Field(default=20 * 2**30, ge=2**20, description="of received series that were not sent on")
    memory_bytes: int | None = Field(default=None, description="of the process that segments")
    threads: int | None = Field(default=None, ge=1, description="None is one for each core")
    segment_seconds: float = Field(default=3600, gt=0, description="longest time for one study")
    first_retry_seconds: float = Field(default=1, gt=0, description="until sending is tried again; doubled each time")
    longest_retry_seconds: float = Field(default=300, gt=0)
    tls: TlsFiles | None = None
    send_with_tls: bool = False
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ae_title(self.ae_title, "--ae-title")
        if not self.allowed and not _is_loopback(self.host):
            raise ValueError(f"--host {self.host} without --allow: anybody in the network could send to this node; "
                             "say who may, as --allow SCANNER1@10.1.2.3")  # fmt: skip
        if self.send_with_tls and self.tls is None:
            raise ValueError("--send-tls without --tls: give certificate, key and authority")
        return self

    def may_connect(self, address: str) -> bool:
        """Whether anybody at an address may send to this node."""
        if not self.allowed:
            return _is_in(address, LOOPBACK)
        return any(caller.is_at(address) for caller in self.allowed)

    def may_send(self, ae_title: str, address: str) -> bool:
        """Whether an AE title at an address may send to this node."""
        if not self.allowed:
            return self.may_connect(address)
        return any(caller.ae_title == ae_title.strip() and caller.is_at(address) for caller in self.allowed)


def _is_loopback(host: str) -> bool:
    try:
        return _is_in(host, LOOPBACK)
    except ValueError:  # a name
        return host == "localhost"


def default_folder(ae_title: str) -> Path:
    """Return where a node keeps its studies if nobody says where: one folder an AE title, below XDG_STATE_HOME."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "embedded-vit" / f"node-{re.sub(r'[^A-Za-z0-9_-]', '_', ae_title)}"
