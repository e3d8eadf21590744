"""The TLS contexts of a node: both sides show certificates (PS3.15 annex B, BCP 195)."""

from __future__ import annotations

import ssl
from typing import TypeVar

from embedded_vit.errors import ConfigError
from embedded_vit.node.settings import TlsFiles

__all__ = ["ArchiveContext", "client_context", "server_context", "tls_failure"]


class _KeepingSocket(ssl.SSLSocket):
    """Keeps in its context why a handshake failed."""

    def do_handshake(self, block: bool = False) -> None:
        """Do the handshake."""
        try:
            super().do_handshake(block)
        except OSError as error:
            if isinstance(self.context, ArchiveContext):
                self.context.failure = tls_failure(error)
            raise


class ArchiveContext(ssl.SSLContext):
    """A context that keeps why the last handshake failed; pynetdicom would only log it.

    Attributes:
        failure: Why it failed; empty if it has not.
    """

    sslsocket_class = _KeepingSocket
    failure = ""


def tls_failure(error: OSError) -> str:
    """Return why a handshake failed, without text of the other side."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or "no answer"


def server_context(files: TlsFiles | None) -> ssl.SSLContext | None:
    """Return the context for those who send to us, whose certificates the authority must have signed.

    Raises:
        ConfigError: A file cannot be used.
    """
    return None if files is None else _filled(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files)


def client_context(files: TlsFiles | None) -> ArchiveContext | None:
    """Return the context for the archive, whose certificate must be signed by the authority and name its host.

    Raises:
        ConfigError: A file cannot be used.
    """
    return None if files is None else _filled(ArchiveContext(ssl.PROTOCOL_TLS_CLIENT), files)


Context = TypeVar("Context", bound=ssl.SSLContext)


def _filled(context: Context, files: TlsFiles) -> Context:
    """Load the files into a context."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(files.certificate, files.key, password="")  # else OpenSSL asks at the terminal
    except (OSError, ValueError) as error:
        raise ConfigError(f"--tls {files.certificate} {files.key}: expected a certificate and its key, without a "
                          f"password, in PEM: {_reason(error)}") from error  # fmt: skip
    try:
        context.load_verify_locations(files.authority)
    except OSError as error:
        raise ConfigError(f"--tls {files.authority}: expected certificates of an authority in PEM: "
                          f"{_reason(error)}") from error  # fmt: skip
    return context


def _reason(error: Exception) -> str:
    return tls_failure(error) if isinstance(error, OSError) else "unreadable"
