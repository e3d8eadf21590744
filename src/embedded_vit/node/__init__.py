"""The DICOM node: series come in from a scanner or an archive, segmentations go out. Research use only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["Node", "NodeSettings", "node_status"]

if TYPE_CHECKING:
    from embedded_vit.node.service import Node
    from embedded_vit.node.settings import NodeSettings
    from embedded_vit.node.status import node_status
else:
    __getattr__, __dir__ = lazily(
        __name__, {"service": ["Node"], "settings": ["NodeSettings"], "status": ["node_status"]}
    )
