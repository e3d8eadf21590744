"""Reads and writes YAML files of settings: PyYAML's safe loader, with a cap on size and depth, and no key twice."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml

from embedded_vit.errors import ConfigError
from embedded_vit.io.atomic import write_text

__all__ = ["PlainLoader", "parse_yaml", "read_text", "read_yaml", "write_yaml"]

MAX_BYTES = 64 * 1024
MAX_DEPTH = 16


class PlainLoader(yaml.SafeLoader):
    """Builds text, numbers, dates, lists, and mappings with text keys; refuses anchors, aliases, tags and merges."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Check an event before anything is built from it."""
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self.refuse(event, "anchors and aliases are not read; write the value out")
        if event.tag is not None and not self.allows_tag(event):
            self.refuse(event, f"the tag {event.tag!r:.60} is not read; only plain values are")
        nested = isinstance(event, yaml.CollectionStartEvent)
        self._depth += nested
        if self._depth > MAX_DEPTH:
            self.refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self._depth -= nested
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Build a value; a date in month 13 or a number of five thousand digits is refused."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError):
            self.refuse(node, f"{node.value!r:.40} is not a value")

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        """Build a mapping; its keys are text, and no key is given twice."""
        values: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag != self.DEFAULT_SCALAR_TAG:
                name = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
                what = "merged mappings are" if key.value == "<<" else f"{name:.40} is"
                self.refuse(key, f"{what} not a setting's name")
            if key.value in values:
                self.refuse(key, f"'{key.value:.40}' is given twice")
            values[key.value] = self.construct_object(value, deep)
        return values

    def allows_tag(self, event: Any) -> bool:
        """Return whether a tag such as `!Name` is read; a subclass may allow some."""
        return False

    def refuse(self, where: Any, problem: str) -> NoReturn:
        """Raise a ConfigError with the line of an event or a node."""
        raise ConfigError(f"{self.name}: line {where.start_mark.line + 1}: {problem}")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file that holds one mapping of plain values.

    Raises:
        ConfigError: The file is missing, larger than 64 KiB, not UTF-8, or not such a mapping; one line.
    """
    return parse_yaml(read_text(path), source=str(path))


def read_text(path: Path) -> str:
    """Read a UTF-8 file of at most 64 KiB; else raise a ConfigError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_BYTES // 1024} KiB; expected a few lines of YAML")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start}); expected YAML text") from error


def parse_yaml(text: str, *, source: str, loader: type[PlainLoader] = PlainLoader) -> dict[str, Any]:
    """Turn the YAML text of one mapping into plain values; `source` names it in the ConfigError, which is one line."""
    try:
        reader = loader(text)
        reader.name = source
        values = reader.get_single_data()
    except yaml.YAMLError as error:
        problem, mark = getattr(error, "problem", None) or error, getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{source}: not valid YAML: {' '.join(str(problem).split()):.120}{where}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: expected names and their values at the top")
    return values


class _PlainDumper(yaml.SafeDumper):
    """Writes lists of plain values on one line, and no anchors, which `read_yaml` does not read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_list(self, data: list[Any]) -> Any:
        nested = any(isinstance(value, (list, dict)) for value in data)
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=not nested)


_PlainDumper.add_representer(list, _PlainDumper.represent_list)


def write_yaml(path: Path, values: Mapping[str, Any], *, comment: str = "", overwrite: bool = False) -> None:
    """Write plain values as YAML that `read_yaml` reads back.

    Args:
        path: The file.
        values: Text keys, and JSON values.
        comment: What stands above them.
        overwrite: Whether the file may be there already.

    Raises:
        OutputError: The file exists, or cannot be written.
    """
    above = "".join(f"# {line}\n" for line in textwrap.wrap(comment, 98))
    text = yaml.dump(dict(values), Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=118)
    write_text(path, above + text, overwrite=overwrite)
