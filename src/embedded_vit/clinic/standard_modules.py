"""A lighter way for highdicom to look up the attributes of a module of the standard.

highdicom parses a JSON file of 23 MB for the first object that it makes, for a few of its 436 modules: that takes
0.3 s, 110 MB for a moment and 45 MB for good. Here each module is read when it is asked for.
"""

from __future__ import annotations

import json
import mmap
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["StandardModules", "lighten"]

KEY, COLON, END = b'\n  "', b'": [', b"\n  ]"  # of a module and its attributes, in a file with an indent of 2
LOOK_UP = "get_module_attribute_map"  # highdicom's function, which its files import by name


class StandardModules(Mapping[str, list[dict[str, Any]]]):
    """The modules of the standard by name: the keyword, type and path of each of their attributes.

    Raises:
        ValueError: The file is laid out in another way.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parsed: dict[str, list[dict[str, Any]]] = {}
        self._places: dict[str, tuple[int, int]] = {}  # where a value begins, and where it ends
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            end = content.find(KEY)
            while end >= 0 and (begin := content.find(KEY, end)) >= 0:
                colon, end = content.find(COLON, begin), content.find(END, begin)
                key = content[begin + len(KEY) : colon]
                if min(colon, end) < 0 or b"\n" in key:
                    raise ValueError(f"{path}: not one module after another")
                self._places[key.decode("ascii")] = colon + len(COLON) - 1, end + len(END)
        if not self._places:
            raise ValueError(f"{path}: no modules")

    def __getitem__(self, name: str) -> list[dict[str, Any]]:
        """Return the attributes of a module."""
        if name not in self._parsed:
            self._parsed[name] = json.loads(self.text(name))
        return self._parsed[name]

    def text(self, name: str) -> bytes:
        """Return the attributes of a module as they stand in the file, in JSON."""
        begin, end = self._places[name]
        with open(self._path, "rb") as file:
            file.seek(begin)
            return file.read(end - begin)

    def __iter__(self) -> Iterator[str]:
        """Return the names of the modules."""
        return iter(self._places)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._places)


@lru_cache(1)
def lighten() -> bool:
    """Have highdicom look modules up here; return whether it does.

    A version of highdicom that is built in another way is left as it is, and works as before.
    """
    import highdicom._standard_utils as tables

    theirs = getattr(tables, LOOK_UP, None)
    try:
        modules = StandardModules(Path(tables.__file__).parent / "_standard" / "module_attribute_map.json")
    except (OSError, ValueError):
        return False
    if theirs is None:
        return False
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "highdicom" and getattr(module, LOOK_UP, None) is theirs:
            setattr(module, LOOK_UP, lambda: modules)
    return True
