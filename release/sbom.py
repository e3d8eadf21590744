"""The software bill of materials (CycloneDX 1.6) and the list of licences, from requirements.lock.

    python release/sbom.py [--output build/sbom]

writes `embedded-vit.cdx.json` and `licences.csv`. Run it where the locked packages are installed (`make setup`), as
their licences are read from there. The same lock file and packages give the same bytes.

Source: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json; package URLs, https://github.com/package-url/purl-spec.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path
from typing import Any

from locked import LockedPackage, locked_packages, runtime_names

from embedded_vit.about import __version__
from embedded_vit.io.atomic import write_text

__all__ = ["bill_of_materials", "licence_list"]

OURS = "Apache-2.0"


def bill_of_materials(packages: list[LockedPackage], runtime: set[str]) -> dict[str, Any]:
    """Return the bill of materials of a release.

    Args:
        packages: What it was tested with.
        runtime: The names of those that run on a device; the others only build, train or test.
    """
    us = {
        "type": "application",
        "bom-ref": _reference("embedded-vit", __version__),
        "name": "embedded-vit",
        "version": __version__,
        "purl": _reference("embedded-vit", __version__),
        "licenses": [{"license": {"id": OURS}}],
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": us},
        "components": [_component(package, package.name in runtime) for package in packages],
        "dependencies": [
            {
                "ref": us["bom-ref"],
                "dependsOn": [_reference(package.name, package.version) for package in packages],
            }
        ],
    }


def licence_list(packages: list[LockedPackage], runtime: set[str]) -> str:
    """Return the licences as CSV: name, version, licence, whether it runs on a device, where it lives."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["package", "version", "licence", "part", "page"])
    for package in packages:
        part = "runtime" if package.name in runtime else "development"
        writer.writerow([package.name, package.version, package.licence or "not installed", part, package.homepage])
    return table.getvalue()


def _component(package: LockedPackage, runs: bool) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": _reference(package.name, package.version),
        "name": package.name,
        "version": package.version,
        "scope": "required" if runs else "excluded",
        "purl": _reference(package.name, package.version),
    }
    if package.licence not in ("", "not said"):
        component["licenses"] = [{"license": {"name": package.licence}}]
    if package.homepage.startswith("http"):
        component["externalReferences"] = [{"type": "website", "url": package.homepage}]
    return component


def _reference(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/sbom"))
    output = parser.parse_args().output
    packages = locked_packages()
    runtime = runtime_names(packages)
    bill = json.dumps(bill_of_materials(packages, runtime), indent=2) + "\n"
    for name, text in {"embedded-vit.cdx.json": bill, "licences.csv": licence_list(packages, runtime)}.items():
        write_text(output / name, text, overwrite=True)
        print(output / name)


if __name__ == "__main__":
    main()
