"""The TLS contexts of a node: both sides show certificates (PS3.15 annex B, BCP 195)."""

from __future__ import annotations

import ssl

from embedded_vit.errors import ConfigError
from embedded_vit.node.settings import TlsFiles

__all__ = ["client_context", "server_context"]


def server_context(files: TlsFiles | None) -> ssl.SSLContext | None:
    """Return the context for those who send to us, whose certificates the authority must have signed.

    Raises:
        ConfigError: A file cannot be used.
    """
    return None if files is None else _context(files, ssl.PROTOCOL_TLS_SERVER)


def client_context(files: TlsFiles | None) -> ssl.SSLContext | None:
    """Return the context for the archive, whose certificate must be signed by the authority and name its host.

    Raises:
        ConfigError: A file cannot be used.
    """
    return None if files is None else _context(files, ssl.PROTOCOL_TLS_CLIENT)


def _context(files: TlsFiles, protocol: ssl._SSLMethod) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"--tls {files.certificate} {files.key}: not a certificate with its key in PEM: "
                          f"{error.strerror or 'unreadable'}") from error  # fmt: skip
    try:
        context.load_verify_locations(files.authority)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"--tls {files.authority}: not a certificate of an authority in PEM: "
                          f"{error.strerror or 'unreadable'}") from error  # fmt: skip
    return context
