"""`embedded-vit node` and `embedded-vit node status`."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from embedded_vit.cli.options import Flag
from embedded_vit.cli.showing import show, show_text, tell
from embedded_vit.errors import ConfigError, missing_extra

if TYPE_CHECKING:
    from embedded_vit.node.settings import NodeSettings

STATUS = "status"
LIBRARIES = {"pynetdicom": "speaks DICOM", "highdicom": "writes DICOM"}
ResultKinds = Literal["dicom-seg", "sc", "all"]  # as in `node.settings`, which takes 100 ms to import
TlsFiles = tuple[Path, Path, Path]


@Parameter(name="*")
@dataclass
class NodeOptions:
    """How a node listens, what it keeps and what it sends.

    Attributes:
        host: Address to listen at; by default only this computer can send. 0.0.0.0 is every network.
        port: Port to listen at.
        allow: Who may send, as AET@HOST, where HOST is a name, an address or a network such as 10.1.2.0/24; again for
            each. By default any AE title on this computer.
        store_size: Most that the received series may take, for example 20G; then senders are told to try later.
        quiet: Seconds without an association after which a study is complete.
        quiet_after_abort: The same where the last association was aborted, so that a sender can try again.
        result_format: What is sent: dicom-seg, a DICOM segmentation; sc, a secondary capture; or all, both.
        memory: Most memory for the process that segments, for example 400M or 1G; a segmentation object of a long
            series takes some more.
        threads: Cores to compute on; all cores by default.
        tls: Certificate, its key, and the certificates of the authority, three PEM files; senders must then use TLS
            and show a certificate that the authority has signed.
        send_tls: Send with TLS too.
    """

    host: str = "127.0.0.1"
    port: int = 11112
    allow: Annotated[list[str], Parameter(negative="")] = field(default_factory=list)
    store_size: str = "20G"
    quiet: float = 30.0
    quiet_after_abort: float = 300.0
    result_format: Annotated[ResultKinds, Parameter(name="--format")] = "dicom-seg"
    memory: str = "1G"
    threads: int | None = None
    tls: Annotated[TlsFiles | None, Parameter(negative="")] = None
    send_tls: Flag = False

    def settings(self, ae_title: str, send_to: str) -> NodeSettings:
        """Return what the node is told.

        Raises:
            ConfigError: An option is wrong.
        """
        from embedded_vit.node.settings import Caller, Destination, NodeSettings, TlsFiles
        from embedded_vit.predict.memory import parse_bytes

        files = None if self.tls is None else dict(zip(("certificate", "key", "authority"), self.tls, strict=True))
        values = {
            "ae_title": ae_title,
            "host": self.host,
            "port": self.port,
            "send_to": Destination.read(send_to),
            "allowed": tuple(Caller.read(text) for text in self.allow),
            "results": self.result_format,
            "quiet_seconds": self.quiet,
            "interrupted_seconds": self.quiet_after_abort,
            "store_bytes": parse_bytes(self.store_size, option="--store-size"),
            "memory_bytes": parse_bytes(self.memory),
            "threads": self.threads,
            "tls": None if files is None else TlsFiles.model_validate(files),
            "send_with_tls": self.send_tls,
        }
        return NodeSettings.parse(values, source="the command line")


def command(
    model: str,
    /,
    *,
    send_to: str | None = None,
    ae_title: str = "EMBEDDEDVIT",
    store: Path | None = None,
    options: NodeOptions | None = None,
) -> None:
    """Run a DICOM node: series are sent to it, and it sends their segmentations to an archive; or show its status.

    It runs until it is interrupted. Whatever it answered with Success is on the disk: a node that was killed goes on
    where it was. `embedded-vit node status` shows its queue.

    Args:
        model: Model file or name of a built-in model; or the word `status`, which shows the queue of a node.
        send_to: Archive that the results are sent to, as AET@HOST:PORT.
        ae_title: AE title of this node.
        store: Folder for series that were received and not sent on yet; only its owner can look into it. By default
            one folder an AE title below ~/.local/state/embedded-vit.
    """
    from embedded_vit.node.settings import default_folder

    folder = default_folder(ae_title) if store is None else store
    if model == STATUS:
        from embedded_vit.node.status import node_status

        show_text(node_status(folder))
        return
    if send_to is None:
        raise ConfigError("--send-to is missing: give the archive that results go to, as AET@HOST:PORT")
    _check_libraries()
    _run((options or NodeOptions()).settings(ae_title, send_to), model, folder)


def _check_libraries() -> None:
    """Refuse to start without the libraries of the extra.

    Raises:
        ConfigError: One is not installed.
    """
    from importlib.util import find_spec

    for library, what in LIBRARIES.items():
        if find_spec(library) is None:
            raise ConfigError(f"embedded-vit node: {missing_extra(f'{library}, which {what},', 'node')}")


def _run(settings: NodeSettings, model: str, folder: Path) -> None:
    """Run a node until a signal ends it; its audit log goes to standard error too."""
    from embedded_vit.predict.memory import limit_matrix_threads

    limit_matrix_threads(1)
    from embedded_vit.builtin.resolve import model_path
    from embedded_vit.node.service import Node

    node = Node(settings, model_path(model), folder, on_line=tell)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: node.stop())
    listens = f"{settings.ae_title} listens at {settings.host}"
    node.run(lambda port: show(f"{listens}:{port}; research use only"))
