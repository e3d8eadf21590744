"""A node with a segmenter that only writes a small file, in a process that kills itself on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from embedded_vit.node.segmenter import Segmenter
from embedded_vit.node.sender import Sender
from embedded_vit.node.service import Node
from embedded_vit.node.settings import NodeSettings
from embedded_vit.node.study_folder import StudyFolder
from embedded_vit.node.study_queue import StudyQueue

# What is killed: class, method, its state if it has one, and whether it has been done by then.
PLACES: dict[str, tuple[type, str, str | None, bool]] = {
    "an image is here, and the queue knows nothing of it": (StudyQueue, "begin", None, False),
    "the queue knows the study, and the image has no place": (StudyFolder, "keep", None, False),
    "the image is in its place, and was not answered": (StudyFolder, "keep", None, True),
    "the image was answered": (StudyQueue, "change", "waiting", False),
    "the study waits": (StudyQueue, "change", "waiting", True),
    "it is being segmented": (StudyQueue, "change", "segmenting", True),
    "it was segmented, and the queue does not know": (Segmenter, "segment", None, True),
    "the queue knows that it was segmented": (StudyQueue, "change", "sending", True),
    "it was sent, and the queue does not know": (Sender, "send", None, True),
    "the queue knows that it was sent, and its files are there": (StudyQueue, "change", "sent", True),
}


def run(settings: NodeSettings, model: Path, store: Path, place: str | None, ready: Connection) -> None:
    """Run a node until it is killed.

    Args:
        settings, model, store: Of the node.
        place: Where it kills itself.
        ready: Gets the port.
    """
    Segmenter.warm_up = lambda *_: None  # type: ignore[method-assign]
    Segmenter.segment = write_result  # type: ignore[method-assign]
    if place is not None:
        owner, method, state, is_done = PLACES[place]
        setattr(owner, method, dying(getattr(owner, method), state, is_done=is_done))
    Node(settings, model, store).run(ready.send)


def dying(method: Callable[..., Any], state: str | None, *, is_done: bool) -> Callable[..., Any]:
    """Return a method that kills the process before or after it has done what it does."""

    def call(*arguments: Any, **more: Any) -> Any:
        meant = state is None or state in (*arguments, more.get("state"))
        done = method(*arguments, **more) if is_done or not meant else None
        if meant:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    return call


def write_result(_: Segmenter, images: Path, results: Path, model: Path) -> dict[str, Any]:
    """Write a result whose UID follows from that of the study."""
    assert model.is_file()
    (image,) = (path for path in images.rglob("*") if path.is_file())
    study = pydicom.dcmread(image, specific_tags=["StudyInstanceUID"]).StudyInstanceUID
    result = Dataset()
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    result.SOPClassUID = result.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    result.SOPInstanceUID = result.file_meta.MediaStorageSOPInstanceUID = f"{study}.7"
    result.StudyInstanceUID = study
    results.mkdir(exist_ok=True)
    result.save_as(results / "seg.dcm", enforce_file_format=True)
    return {"results": 1, "refused": []}
