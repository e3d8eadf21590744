"""Embedded-ViT in 3D Slicer: segments the volume that is shown, by the program `embedded-vit`. Research use only.

A scripted module of one file. It imports nothing of Embedded-ViT: it writes the volume to a NIfTI file, starts the
installed program in a process of its own, and shows the mask as a segmentation. Nothing leaves the computer.

This module was written from Slicer's documentation and never run in Slicer; see README.md beside it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)

MODELS = ("abdomen-ct", "abdomen-ct-large", "abdomen-ct-fast", "abdomen-ct-int8", "hippocampus-mr")
PROGRAM_SETTING = "EmbeddedViT/program"
POLL_MILLISECONDS = 200
RESEARCH_USE_ONLY = "Research use only. Not a medical device."


class EmbeddedViT(ScriptedLoadableModule):
    """What Slicer's list of modules says of this one."""

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)
        parent.title = "Embedded-ViT"
        parent.categories = ["Segmentation"]
        parent.dependencies = []
        parent.contributors = ["The makers of Embedded-ViT"]
        parent.helpText = f"Segments a CT or MR volume on this computer, without a GPU. {RESEARCH_USE_ONLY}"
        parent.acknowledgementText = "Ostrowski, Shafique: Embedded-ViT, ISVC 2024."


class EmbeddedViTWidget(ScriptedLoadableModuleWidget):
    """The panel: a volume, a model, the program, and what came of it."""

    def setup(self) -> None:
        """Make the panel."""
        super().setup()
        self.logic = EmbeddedViTLogic()
        box = ctk.ctkCollapsibleButton()
        box.text = RESEARCH_USE_ONLY
        self.layout.addWidget(box)
        form = qt.QFormLayout(box)
        self.volume = slicer.qMRMLNodeComboBox()
        self.volume.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.volume.addEnabled = self.volume.removeEnabled = False
        self.volume.setMRMLScene(slicer.mrmlScene)
        self.model = qt.QComboBox()
        self.model.addItems(list(MODELS))
        self.model.editable = True
        self.model.toolTip = "A built-in model, or the path of a model file"
        self.program = ctk.ctkPathLineEdit()
        self.program.filters = ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Executable
        self.program.currentPath = qt.QSettings().value(PROGRAM_SETTING) or shutil.which("embedded-vit") or ""
        self.force = qt.QCheckBox("Segment although the model was not made for such a scan")
        self.button = qt.QPushButton("Segment")
        self.said = qt.QLabel()
        self.said.wordWrap = True
        rows = (("Volume", self.volume), ("Model", self.model), ("Program embedded-vit", self.program))
        for title, widget in rows:
            form.addRow(title, widget)
        for widget in (self.force, self.button, self.said):
            form.addRow(widget)
        self.button.connect("clicked(bool)", self.on_button)
        self.layout.addStretch(1)

    def on_button(self, *_: Any) -> None:
        """Begin, or cancel what runs."""
        if self.logic.is_running:
            self.logic.cancel()
            return
        node, program = self.volume.currentNode(), self.program.currentPath
        if node is None or not program:
            self.said.text = "Choose a volume, and the program embedded-vit of the environment that it is installed in."
            return
        qt.QSettings().setValue(PROGRAM_SETTING, program)
        self.button.text, self.said.text = "Cancel", "Segmenting ..."
        self.logic.start(program, self.model.currentText, node, force=self.force.checked, on_end=self.on_end)

    def on_end(self, message: str) -> None:
        """Show what came of it."""
        self.button.text, self.said.text = "Segment", message

    def cleanup(self) -> None:
        """End what runs when the panel goes."""
        self.logic.cancel()


class EmbeddedViTLogic(ScriptedLoadableModuleLogic):
    """Starts the program, waits for it without blocking Slicer, and loads the mask."""

    def __init__(self) -> None:
        super().__init__()
        self._process: subprocess.Popen[str] | None = None
        self._folder: Path | None = None

    @property
    def is_running(self) -> bool:
        """Whether a volume is being segmented."""
        return self._process is not None

    def start(self, program: str, model: str, node: Any, *, force: bool, on_end: Callable[[str], None]) -> None:
        """Begin to segment a volume.

        Args:
            program: Path of `embedded-vit`.
            model: Name of a built-in model, or path of a model file.
            node: The volume.
            force: Whether a volume outside the contract of the model is segmented all the same.
            on_end: Gets a line that says what came of it.
        """
        self._folder = folder = Path(tempfile.mkdtemp(prefix="embedded-vit-"))
        slicer.util.exportNode(node, str(folder / "scan.nii.gz"))
        words = command(program, model, folder, force=force)
        try:
            self._process = slicer.util.launchConsoleProcess(words, useStartupEnvironment=True)
        except OSError as error:
            self._end(on_end, f"{program}: cannot be started: {error.strerror}")
            return
        self._poll(node, on_end)

    def cancel(self) -> None:
        """End the program."""
        if self._process is not None:
            self._process.kill()

    def _poll(self, node: Any, on_end: Callable[[str], None]) -> None:
        process, folder = self._process, self._folder
        assert process is not None
        assert folder is not None
        if process.poll() is None:
            qt.QTimer.singleShot(POLL_MILLISECONDS, lambda: self._poll(node, on_end))
            return
        said = process.communicate()[0] or ""
        if process.returncode == 0:
            show_mask(folder, node)
            message = summary_text(folder)
        else:
            message = last_line(said) or "Cancelled."
        self._end(on_end, message)

    def _end(self, on_end: Callable[[str], None], message: str) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._process = self._folder = None
        on_end(message)


def command(program: str, model: str, folder: Path, *, force: bool) -> Sequence[str]:
    """Return the words of the command that segments `scan.nii.gz` of a folder."""
    words = [program, "predict", model, str(folder / "scan.nii.gz"), "-o", str(folder / "mask.nii.gz")]
    return [*words, "--force"] if force else words


def last_line(said: str) -> str:
    """Return the last line that a program said, which is its error."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def structure_names(folder: Path) -> dict[int, str]:
    """Return the names of the structures of a mask by their numbers."""
    summary = json.loads((folder / "mask.json").read_text(encoding="utf-8"))
    return {int(number): str(name) for name, number in summary["labels"].items()}


def summary_text(folder: Path) -> str:
    """Return volumes and doubts of a mask as lines."""
    summary = json.loads((folder / "mask.json").read_text(encoding="utf-8"))
    lines = [f"{name}: {value} {summary['unit']}" for name, value in summary["volumes"].items()]
    return os.linesep.join([*lines, *(f"Check: {warning}" for warning in summary["warnings"]), RESEARCH_USE_ONLY])


def show_mask(folder: Path, node: Any) -> Any:
    """Show the mask of a folder as a segmentation of a volume; return the segmentation's node."""
    labels = slicer.util.loadLabelVolume(str(folder / "mask.nii.gz"))
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{node.GetName()} segmentation")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, segmentation)
    slicer.mrmlScene.RemoveNode(labels)
    segmentation.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    names, segments = structure_names(folder), segmentation.GetSegmentation()
    for index in range(segments.GetNumberOfSegments()):
        segment = segments.GetNthSegment(index)
        segment.SetName(names.get(segment.GetLabelValue(), segment.GetName()))
    segmentation.CreateClosedSurfaceRepresentation()
    return segmentation
