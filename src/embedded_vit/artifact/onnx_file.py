"""Checks, metadata and digest of an ONNX file, read without the onnx package.

An ONNX file is one protobuf message: records of a tag (field number and wire type), a length and a payload. The records
are enough to read and replace metadata, to hash everything else, and to find what an artifact must not hold.
Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from embedded_vit.errors import FileFormatError

__all__ = ["check_self_contained", "graph_digest", "metadata_of", "with_metadata"]

MODEL_OPERATOR_SETS, MODEL_METADATA = 8, 14
STANDARD_DOMAINS = (b"", b"ai.onnx")

# The messages in which a tensor or an operator's domain can lie: field number -> the message that field holds.
NESTED_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", MODEL_OPERATOR_SETS: "operator set"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
}


class Field(NamedTuple):
    """One record of a protobuf message."""

    number: int
    record: memoryview  # tag, length and payload, as in the file
    payload: memoryview  # empty for a plain number
    value: int  # of a plain number, else 0


def fields_of(message: memoryview) -> Iterator[Field]:
    """Yield the fields of a protobuf message in their order.

    Raises:
        ValueError: The bytes are not a protobuf message.
    """
    position = 0
    while position < len(message):
        start = position
        tag, position = _read_varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        value, length = 0, 0
        if wire_type == 0:
            value, position = _read_varint(message, position)
        elif wire_type == 2:
            length, position = _read_varint(message, position)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type} at byte {start}")
        end = position + length
        if number == 0 or end > len(message):
            raise ValueError(f"field {number} at byte {start} ends beyond the file")
        yield Field(number, message[start:end], message[position:end], value)
        position = end


def graph_digest(content: bytes) -> str:
    """Return the SHA-256, in hex, of all top-level fields but the metadata, in file order: graph, weights, versions."""
    digest = hashlib.sha256()
    for field in fields_of(memoryview(content)):
        if field.number != MODEL_METADATA:
            digest.update(field.record)
    return digest.hexdigest()


def metadata_of(content: bytes) -> dict[str, str]:
    """Return the metadata of the file; of a key that occurs twice, the last value."""
    metadata = {}
    for field in fields_of(memoryview(content)):
        if field.number == MODEL_METADATA:
            entry = {part.number: bytes(part.payload).decode("utf-8") for part in fields_of(field.payload)}
            metadata[entry.get(1, "")] = entry.get(2, "")
    return metadata


def with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return the model with other metadata; every other byte stays as it is."""
    kept = [bytes(field.record) for field in fields_of(memoryview(content)) if field.number != MODEL_METADATA]
    entries = [_bytes_field(1, key.encode()) + _bytes_field(2, value.encode()) for key, value in metadata.items()]
    return b"".join(kept + [_bytes_field(MODEL_METADATA, entry) for entry in entries])


def check_self_contained(content: bytes, source: str) -> None:
    """Refuse weights in other files, and operators outside the ONNX standard.

    Raises:
        FileFormatError: The graph refers to one of them.
    """
    _check_message(memoryview(content), "model", source)


def _check_message(message: memoryview, kind: str, source: str) -> None:
    nested = NESTED_MESSAGES.get(kind, {})
    for field in fields_of(message):
        # TensorProto: 13 external_data, 14 data_location (1: external)
        if kind == "tensor" and (field.number == 13 or (field.number == 14 and field.value != 0)):
            raise FileFormatError(f"{source}: keeps weights in another file; an artifact is one file: export it again")
        # OperatorSetIdProto 1 and NodeProto 7: domain
        if (kind, field.number) in (("operator set", 1), ("node", 7)) and bytes(field.payload) not in STANDARD_DOMAINS:
            domain = bytes(field.payload)[:40].decode(errors="replace")
            raise FileFormatError(f"{source}: uses operators outside the ONNX standard ({domain!r}); export it again")
        # ModelProto 20: training_info, 25: functions
        if kind == "model" and field.number in (20, 25):
            raise FileFormatError(f"{source}: holds training graphs or functions besides its graph; export it again")
        if field.number in nested:
            _check_message(field.payload, nested[field.number], source)


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    """Read a protobuf number (7 bits in each byte, lowest first); return it and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"a number at byte {position} does not end")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _bytes_field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload
