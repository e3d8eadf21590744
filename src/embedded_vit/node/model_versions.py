"""The versions of a node's model: a study ends with the version that it began with, also when the file is replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from embedded_vit.artifact import Manifest, read_artifact
from embedded_vit.errors import ConfigError, EmbeddedVitError
from embedded_vit.io.atomic import atomic_path
from embedded_vit.node.audit import AuditLog

__all__ = ["ModelVersion", "ModelVersions"]


@dataclass(frozen=True)
class ModelVersion:
    """One version of the model.

    Attributes:
        name: The model's name.
        sha256: SHA-256 of the file.
        modality: What it takes: "CT" or "MR".
    """

    name: str
    sha256: str
    modality: str


class ModelVersions:
    """The model file that a node was started with, and copies of the versions of it that are in use."""

    def __init__(self, model: Path, folder: Path, audit: AuditLog) -> None:
        """Copy the model.

        Raises:
            EmbeddedVitError: It cannot be read, or a node cannot serve it.
        """
        self._model, self._folder, self._audit = model, folder, audit
        self._seen = self._signature()
        self._current = self._copied()

    def current(self) -> ModelVersion:
        """Return the version for studies that begin now; the last good one where the file cannot be read."""
        seen = self._signature()
        if seen is not None and seen != self._seen:
            self._seen = seen
            try:
                version = self._copied()
                if version.modality != self._current.modality:
                    raise ConfigError(
                        f"the new model is made for {version.modality}, and this node was started for "
                        f"{self._current.modality}; start it again"
                    )
            except EmbeddedVitError as error:
                self._audit.write("model not taken", reason=str(error))
            else:
                self._audit.write("model replaced", model=version.name, sha256=version.sha256)
                self._current = version
        return self._current

    def path(self, sha256: str) -> Path:
        """Return the copy of a version."""
        return self._folder / f"{sha256}.onnx"

    def forget(self, used: Iterable[str]) -> None:
        """Remove the copies of all versions but the present one and those that studies began with."""
        kept = {self.path(sha256) for sha256 in (*used, self._current.sha256)}
        for path in self._folder.iterdir():
            if path not in kept:
                path.unlink(missing_ok=True)

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            status = self._model.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _copied(self) -> ModelVersion:
        content, manifest = read_artifact(self._model)
        version = _version(manifest, content, str(self._model))
        if not self.path(version.sha256).exists():
            with atomic_path(self.path(version.sha256), overwrite=True) as temporary:
                temporary.write_bytes(content)
        return version


def _version(manifest: Manifest, content: bytes, source: str) -> ModelVersion:
    """Describe a version.

    Raises:
        ConfigError: A node cannot serve it.
    """
    preprocessing = manifest.preprocessing
    if preprocessing.modality not in ("CT", "MR"):
        raise ConfigError(f"{source}: made for {preprocessing.modality}; a node serves models for CT and for MR")
    if len(preprocessing.channels) != 1:
        raise ConfigError(f"{source}: takes {len(preprocessing.channels)} channels; a node serves models that take one "
                          "series at a time")  # fmt: skip
    return ModelVersion(manifest.name, hashlib.sha256(content).hexdigest(), preprocessing.modality)
