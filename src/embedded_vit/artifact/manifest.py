"""The manifest of an artifact: what the network expects, what its output means, and where it came from.

The manifest is JSON in the metadata of the ONNX file, beside its own SHA-256. It holds the SHA-256 of graph and
weights, so that digests cover every byte that decides a mask. `docs/file-formats.md` describes the format. Digests find
damage and mix-ups. They are not a signature: take artifacts only from people you trust.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from embedded_vit.about import RESEARCH_USE_ONLY, __version__
from embedded_vit.artifact.onnx_file import check_self_contained, graph_digest, metadata_of, with_metadata
from embedded_vit.config import Config
from embedded_vit.contract import Contract, SpacingRange
from embedded_vit.errors import ConfigError, FileFormatError
from embedded_vit.fingerprint import IntensityFingerprint
from embedded_vit.labels import LabelSet
from embedded_vit.plausibility import Plausibility
from embedded_vit.postprocessing import Postprocessing
from embedded_vit.preprocessing import Preprocessing

__all__ = ["GraphPrecision", "Manifest", "hashed_names", "read_artifact", "sealed"]

FORMAT_VERSION: Literal[1] = 1
MANIFEST_KEY = "embedded_vit.manifest"
MANIFEST_DIGEST_KEY = "embedded_vit.manifest_sha256"
MAXIMUM_BYTES = 2**30  # embedded-vit-224-dense, the largest of the paper, has 353 MB; protobuf itself ends at 2 GiB

GraphPrecision = Literal["fp32", "fp16", "bf16", "int8", "int8-bf16"]
DIGEST_PATTERN = r"^[0-9a-f]{64}$"


class Manifest(Config):
    """What an artifact says of itself, besides its graph."""

    format_version: Literal[1] = FORMAT_VERSION
    name: str = Field(description="the model's name, for people")
    network: dict[str, Any] = Field(description="the network's architecture")
    preprocessing: Preprocessing = Field(description="how a scan becomes the network's input")
    postprocessing: Postprocessing = Field(default=Postprocessing(), description="what becomes of masks")
    spacing_range: SpacingRange | None = Field(default=None, description="None where the training data carry none")
    intensities: IntensityFingerprint | None = Field(default=None, description="brightness of the training scans")
    plausibility: Plausibility | None = Field(default=None, description="what the training masks look like")
    labels: LabelSet
    precision: GraphPrecision = "fp32"
    recipe: str = Field(description="name of the training recipe")
    compression: dict[str, Any] | None = Field(default=None, description="the plan by which it was compressed")
    data_fingerprint: str
    split: dict[str, tuple[str, ...]] = Field(description="subset -> SHA-256 of each of its case names")
    metrics: dict[str, float] | None = Field(default=None, description="measured on validation cases; None without any")
    code_version: str = __version__
    created: str = Field(description="ISO 8601, UTC")
    graph_sha256: str = Field(pattern=DIGEST_PATTERN, description="of graph and weights, see docs/file-formats.md")
    use: str = RESEARCH_USE_ONLY

    @property
    def contract(self) -> Contract:
        """What the network expects of a scan, and what its labels mean."""
        return Contract(
            preprocessing=self.preprocessing,
            labels=self.labels,
            postprocessing=self.postprocessing,
            spacing_range=self.spacing_range,
            intensities=self.intensities,
            plausibility=self.plausibility,
        )

    @property
    def is_int8(self) -> bool:
        """Whether the graph is quantized to int8."""
        return self.precision.startswith("int8")

    @property
    def in_bfloat16(self) -> bool:
        """Whether engines should compute the graph's float operators in bfloat16."""
        return self.precision.endswith("bf16")


def hashed_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the SHA-256 of each case name, which tells whether a case was trained on, but not whose scans were."""
    return tuple(hashlib.sha256(name.encode()).hexdigest() for name in names)


def sealed(graph: bytes, manifest: Manifest) -> bytes:
    """Return a serialized ONNX model with the manifest as its only metadata.

    Args:
        graph: A serialized ONNX ModelProto.
        manifest: Its `graph_sha256` must be the graph's digest.
    """
    assert manifest.graph_sha256 == graph_digest(graph)
    text = manifest.model_dump_json()
    return with_metadata(graph, {MANIFEST_KEY: text, MANIFEST_DIGEST_KEY: hashlib.sha256(text.encode()).hexdigest()})


def read_artifact(path: str | Path) -> tuple[bytes, Manifest]:
    """Read an artifact and verify it.

    Returns:
        The bytes of the file, which engines take, and its manifest.

    Raises:
        FileFormatError: The file cannot be read, is not an artifact, is damaged or incomplete, has another format
            version, or its graph refers to other files or to operators outside the ONNX standard.
    """
    content = _read_bytes(Path(path))
    try:
        metadata = metadata_of(content)
        digest = graph_digest(content)
        check_self_contained(content, str(path))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise FileFormatError(f"{path}: damaged, or not an ONNX file ({error}); copy or export it again") from error
    if MANIFEST_KEY not in metadata:
        raise FileFormatError(f"{path}: an ONNX file without a manifest; expected a file of `embedded-vit export`")
    manifest = _parse_manifest(metadata[MANIFEST_KEY], metadata.get(MANIFEST_DIGEST_KEY), str(path))
    if manifest.graph_sha256 != digest:
        raise FileFormatError(f"{path}: graph or weights changed after the export; copy or export it again")
    return content, manifest


def _read_bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAXIMUM_BYTES:
            raise FileFormatError(f"{path}: {size >> 20} MiB; an artifact has at most {MAXIMUM_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"{path}: cannot read it: {error.strerror or error}") from error


def _parse_manifest(text: str, expected_digest: str | None, source: str) -> Manifest:
    if hashlib.sha256(text.encode()).hexdigest() != expected_digest:
        raise FileFormatError(f"{source}: the manifest is damaged (its SHA-256 differs); copy or export it again")
    try:
        values = dict(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise FileFormatError(f"{source}: the manifest is not a JSON object; export it again") from error
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise FileFormatError(
            f"{source}: artifact format {version}, this program reads format {FORMAT_VERSION}; update embedded-vit"
        )
    try:
        return Manifest.parse(values, source=source)
    except ConfigError as error:
        raise FileFormatError(f"{error}; export it again") from error
