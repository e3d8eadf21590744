"""What the parts of a node share: those who receive, segment and send."""

from __future__ import annotations

from dataclasses import dataclass

from embedded_vit.node.audit import AuditLog
from embedded_vit.node.model_versions import ModelVersions
from embedded_vit.node.settings import NodeSettings
from embedded_vit.node.study_folder import StudyFolder
from embedded_vit.node.study_queue import StudyQueue

__all__ = ["Shared"]


@dataclass(frozen=True)
class Shared:
    """The settings, and what is on the disk; any thread may use them."""

    settings: NodeSettings
    folder: StudyFolder
    queue: StudyQueue
    models: ModelVersions
    audit: AuditLog
