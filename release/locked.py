"""The packages of requirements.lock, and what is known of each where it is installed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path

import tomllib
from packaging.requirements import Requirement

__all__ = ["LOCK", "REPOSITORY", "LockedPackage", "locked_packages", "runtime_names"]

REPOSITORY = Path(__file__).resolve().parents[1]
LOCK = REPOSITORY / "requirements.lock"
RUNTIME_EXTRAS = ("dicom", "h5", "itk", "litert", "node", "openvino", "pictures")  # what a device or a clinic installs
LONGEST_LICENCE = 80  # more is the text of a licence, in place of its name


def normalised(name: str) -> str:
    """Return a package's name as an index spells it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _one(found: metadata.PackageMetadata, field: str) -> str:
    """Return a field of a package's description; empty where it is not there."""
    return (found.get_all(field) or [""])[0]


@dataclass(frozen=True)
class LockedPackage:
    """A package of a version.

    Attributes:
        name: As an index spells it.
        version: Of the lock file.
    """

    name: str
    version: str

    @cached_property
    def _installed(self) -> metadata.PackageMetadata | None:
        try:
            distribution = metadata.distribution(self.name)
        except metadata.PackageNotFoundError:
            return None
        return distribution.metadata if distribution.version == self.version else None

    @property
    def licence(self) -> str:
        """The SPDX expression, or what the package says in its place; empty where it is not installed."""
        found = self._installed
        if found is None:
            return ""
        if expression := _one(found, "License-Expression"):
            return expression
        classifiers = [line.rpartition("::")[2].strip() for line in found.get_all("Classifier") or ()
                       if line.startswith("License ::")]  # fmt: skip
        named = [line for line in classifiers if line != "OSI Approved"]
        text = _one(found, "License").strip().splitlines()
        if not named and text and len(text[0]) <= LONGEST_LICENCE:
            return text[0]
        return " AND ".join(named) or "not said"

    @property
    def homepage(self) -> str:
        """Where the package lives; empty where that is not known."""
        found = self._installed
        if found is None:
            return ""
        pages = dict(line.split(", ", 1) for line in found.get_all("Project-URL") or () if ", " in line)
        wanted = ("homepage", "home", "repository", "source", "source code")
        by_name = {name.lower(): page for name, page in pages.items()}
        return _one(found, "Home-page") or next((by_name[name] for name in wanted if name in by_name), "")

    @property
    def requirements(self) -> Iterator[Requirement]:
        """What it requires."""
        if self._installed is not None:
            yield from map(Requirement, self._installed.get_all("Requires-Dist") or ())


def locked_packages(lock: Path = LOCK) -> list[LockedPackage]:
    """Read a lock file; the packages in its order.

    Raises:
        ValueError: A line pins no version.
    """
    packages = []
    for line in lock.read_text(encoding="utf-8").splitlines():
        pinned = line.partition("#")[0].partition(";")[0].strip()
        if not pinned:
            continue
        name, equals, version = pinned.partition("==")
        if not equals:
            raise ValueError(f"{lock}: {pinned!r} pins no version; expected NAME==VERSION")
        packages.append(LockedPackage(normalised(name), version.partition("+")[0]))
    return packages


def runtime_names(packages: list[LockedPackage]) -> set[str]:
    """Return the names of the packages that the base package and the extras of a device or a clinic bring.

    Args:
        packages: Of the lock file, installed here.
    """
    of_name = {package.name: package for package in packages}
    ours = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = ours["optional-dependencies"]
    lines = [*ours["dependencies"], *(line for extra in RUNTIME_EXTRAS for line in extras.get(extra, ()))]
    waiting = [(Requirement(line), ("", *Requirement(line).extras)) for line in lines]
    found: set[str] = set()
    while waiting:
        requirement, wanted = waiting.pop()
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in wanted):
            continue
        name = normalised(requirement.name)
        if name in of_name:
            found.add(name)
            new = ("", *requirement.extras)
            waiting += [(each, new) for each in of_name[name].requirements if normalised(each.name) not in found]
    return found
