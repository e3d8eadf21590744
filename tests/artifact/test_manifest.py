"""An artifact is read back as it was written, or refused with one line that says why."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from artifact_fixtures import threshold_graph, threshold_manifest

from embedded_vit.artifact import manifest as manifest_module
from embedded_vit.artifact.manifest import (
    MANIFEST_DIGEST_KEY,
    MANIFEST_KEY,
    hashed_names,
    read_artifact,
    sealed,
)
from embedded_vit.artifact.onnx_file import metadata_of, with_metadata
from embedded_vit.contract import SpacingRange
from embedded_vit.errors import FileFormatError

MakeArtifact = Callable[..., Path]


def test_a_manifest_comes_back_as_it_was_written() -> None:
    graph = threshold_graph().SerializeToString()
    spacing = SpacingRange(slices_mm=(1, 5), in_plane_mm=(0.5, 1))
    manifest = threshold_manifest(graph, spacing_range=spacing, metrics={"validation_dice": 0.5}, precision="int8")
    text = metadata_of(sealed(graph, manifest))[MANIFEST_KEY]
    assert type(manifest).model_validate_json(text) == manifest


def test_reading_gives_the_file_and_its_manifest(make_artifact: MakeArtifact) -> None:
    path = make_artifact(name="a.onnx")
    content, manifest = read_artifact(path)
    assert content == path.read_bytes()
    assert manifest.name == "threshold"
    assert "Research use only" in manifest.use


def test_case_names_stay_out_of_the_artifact() -> None:
    assert hashed_names(("Smith^John",)) == (hashlib.sha256(b"Smith^John").hexdigest(),)


def test_every_flipped_bit_is_noticed(make_artifact: MakeArtifact) -> None:
    path = make_artifact()
    content = path.read_bytes()
    generator = random.Random(0)
    for position in {*range(0, len(content), 7), *generator.sample(range(len(content)), 60)}:
        damaged = bytearray(content)
        damaged[position] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(FileFormatError) as caught:
            read_artifact(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


def test_every_truncation_is_noticed(make_artifact: MakeArtifact) -> None:
    path = make_artifact()
    content = path.read_bytes()
    for length in range(0, len(content), 11):
        path.write_bytes(content[:length])
        with pytest.raises(FileFormatError):
            read_artifact(path)


def test_another_onnx_file_is_told_from_an_artifact(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(threshold_graph().SerializeToString())
    with pytest.raises(FileFormatError, match="without a manifest; expected a file of `embedded-vit export`"):
        read_artifact(path)


def test_swapped_weights_are_refused(make_artifact: MakeArtifact) -> None:
    path = make_artifact()
    metadata = metadata_of(path.read_bytes())
    other = threshold_graph()
    other.graph.initializer[0].float_data[0] = -2
    path.write_bytes(with_metadata(other.SerializeToString(), metadata))
    with pytest.raises(FileFormatError, match="graph or weights changed after the export"):
        read_artifact(path)


def rewritten(path: Path, **fields: object) -> Path:
    """Return the artifact with other manifest fields and a matching digest, as another program could write it."""
    content = path.read_bytes()
    text = json.dumps(json.loads(metadata_of(content)[MANIFEST_KEY]) | fields)
    digest = hashlib.sha256(text.encode()).hexdigest()
    path.write_bytes(with_metadata(content, {MANIFEST_KEY: text, MANIFEST_DIGEST_KEY: digest}))
    return path


def test_another_format_version_says_what_to_do(make_artifact: MakeArtifact) -> None:
    with pytest.raises(FileFormatError, match="artifact format 2, this program reads format 1; update embedded-vit"):
        read_artifact(rewritten(make_artifact(), format_version=2))


def test_an_unknown_field_is_refused_by_name(make_artifact: MakeArtifact) -> None:
    with pytest.raises(FileFormatError, match=r"'presicion'.*did you mean 'precision'"):
        read_artifact(rewritten(make_artifact(), presicion="fp32"))


def test_a_graph_nested_without_end_is_refused(make_artifact: MakeArtifact) -> None:
    inner = b""
    for _ in range(3000):  # a graph in an attribute of a node of a graph ...
        for number in (6, 5, 1):
            inner = varint(number << 3 | 2) + varint(len(inner)) + inner
    path = make_artifact()
    path.write_bytes(path.read_bytes() + varint(7 << 3 | 2) + varint(len(inner)) + inner)
    with pytest.raises(FileFormatError, match="damaged"):
        read_artifact(path)


def varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value >= 0x80 else bytes([value])


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "null", "{", "{}", '{"format_version": 1}'])
def test_a_manifest_that_is_none_is_refused(make_artifact: MakeArtifact, text: str) -> None:
    path = make_artifact()
    digest = hashlib.sha256(text.encode()).hexdigest()
    path.write_bytes(with_metadata(path.read_bytes(), {MANIFEST_KEY: text, MANIFEST_DIGEST_KEY: digest}))
    with pytest.raises(FileFormatError):
        read_artifact(path)


def test_missing_empty_and_oversized_files_are_refused(
    make_artifact: MakeArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileFormatError, match="No such file"):
        read_artifact(tmp_path / "absent.onnx")
    with pytest.raises(FileFormatError, match="cannot read"):
        read_artifact(tmp_path)
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(FileFormatError):
        read_artifact(tmp_path / "empty.onnx")
    monkeypatch.setattr(manifest_module, "MAXIMUM_BYTES", 100)
    with pytest.raises(FileFormatError, match="at most"):
        read_artifact(make_artifact())
