"""Reads YAML files of settings: names, numbers, text, lists and nothing that could do harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from embedded_vit.errors import ConfigError

__all__ = ["TAG", "parse_yaml", "read_text", "read_yaml"]

MAX_BYTES = 64 * 1024
MAX_DEPTH = 16
TAG = "!"  # the key that holds a mapping's tag, where tags are allowed
_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file that holds one mapping of plain values.

    Raises:
        ConfigError: It is missing, too large, not UTF-8, or not such a mapping; one line.
    """
    return parse_yaml(read_text(path), source=str(path))


def read_text(path: Path) -> str:
    """Read a small UTF-8 file.

    Raises:
        ConfigError: It is missing, larger than 64 KiB, or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES // 1024} KiB; expected a few lines of YAML")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start}); expected YAML text") from error


def parse_yaml(text: str, *, source: str, tagged_mappings: bool = False) -> dict[str, Any]:
    """Turn YAML text into plain values.

    Args:
        text: One document with a mapping at its top.
        source: Where it comes from, for the message.
        tagged_mappings: Whether a mapping may carry a tag of its own, such as `!Name`; it goes to the key `TAG`.

    Raises:
        ConfigError: No YAML, no mapping at the top, anchors, aliases, tags, merges, repeated keys, too deep.
    """
    try:
        _refuse_dangers(text, source, tagged_mappings)
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{source}: expected names and their values at the top")
        values: dict[str, Any] = _plain(node, loader, source)
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{source}: not valid YAML: {error.problem or error.context}{where}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not valid YAML: {' '.join(str(error).split()):.120}") from error
    return values


def _refuse_dangers(text: str, source: str, tagged_mappings: bool) -> None:
    """Look at the events one by one, before anything is built from them."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        where = f"{source}: line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ConfigError(f"{where}: anchors and aliases are not read; write the value out")
        tag = getattr(event, "tag", None)
        allowed = tagged_mappings and isinstance(event, yaml.MappingStartEvent) and str(tag).startswith("!")
        if tag is not None and not allowed:
            raise ConfigError(f"{where}: the tag {tag!r:.60} is not read; only plain values are")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ConfigError(f"{where}: nested deeper than {MAX_DEPTH} levels")


def _plain(node: yaml.Node, loader: yaml.SafeLoader, source: str) -> Any:
    where = f"{source}: line {node.start_mark.line + 1}"
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, loader, source) for item in node.value]
    if isinstance(node, yaml.ScalarNode):
        try:
            return loader.construct_object(node)
        except (ValueError, OverflowError) as error:  # a date without a month, a number of five thousand digits
            raise ConfigError(f"{where}: {node.value!r:.40} is no value") from error
    values: dict[str, Any] = {} if node.tag.startswith("tag:") else {TAG: node.tag.removeprefix("!")}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag != _TEXT:
            what = "merged mappings are" if key.tag == _MERGE else f"{getattr(key, 'value', '')!r:.40} is"
            raise ConfigError(f"{source}: line {key.start_mark.line + 1}: {what} no setting's name")
        if key.value in values:
            raise ConfigError(f"{source}: line {key.start_mark.line + 1}: '{key.value:.40}' is given twice")
        values[key.value] = _plain(value, loader, source)
    return values
