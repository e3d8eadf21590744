"""The part of a node that receives, within this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from node_fixtures import write_model

from embedded_vit.node.audit import AuditLog
from embedded_vit.node.model_versions import ModelVersions
from embedded_vit.node.receiver import Receiver
from embedded_vit.node.settings import Destination, NodeSettings
from embedded_vit.node.shared import Shared
from embedded_vit.node.study_folder import StudyFolder
from embedded_vit.node.study_queue import StudyQueue

ARCHIVE = Destination.read("ARCHIVE@127.0.0.1:1")
PLENTY = 2**40


class Bench:
    """A receiver and what it writes to.

    Args:
        store: The node's folder.
        model_folder: Where its model is written.
        free_bytes: Of the disk.
        model: Fields of the model's manifest.
        settings: Of the node.
    """

    def __init__(
        self,
        store: Path,
        model_folder: Path,
        free_bytes: int = PLENTY,
        model: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        values = {"send_to": ARCHIVE, "port": 0, "store_bytes": 2**20} | settings
        self.settings = NodeSettings.parse(values, source="the test")
        self.folder = StudyFolder(store, self.settings.store_bytes)
        self.queue = StudyQueue(self.folder.queue_path)
        audit = AuditLog(self.folder.path / "audit.log")
        models = ModelVersions(write_model(model_folder / "model.onnx", **model or {}), self.folder.models, audit)
        shared = Shared(self.settings, self.folder, self.queue, models, audit)
        self.receiver = Receiver(shared, lambda path: free_bytes)
        self.port = self.receiver.start()

    @property
    def audit(self) -> str:
        """What the audit log holds."""
        return (self.folder.path / "audit.log").read_text() if (self.folder.path / "audit.log").exists() else ""

    def close(self) -> None:
        """End it."""
        self.receiver.stop()
        self.queue.close()
