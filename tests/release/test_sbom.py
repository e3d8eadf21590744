"""The bill of materials names what the lock file pins, and no licence that this package may not require."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
pytest.importorskip("packaging")
pytest.importorskip("tomllib")


@pytest.fixture(scope="module")
def release() -> tuple[object, object]:
    sys.path.insert(0, str(REPOSITORY / "release"))
    try:
        import locked
        import sbom
    finally:
        sys.path.pop(0)
    return locked, sbom


def test_every_pinned_package_is_a_component_of_the_bill(release) -> None:
    locked, sbom = release
    packages = locked.locked_packages()
    bill = sbom.bill_of_materials(packages, locked.runtime_names(packages))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    pinned = re.findall(r"^([\w.-]+)==([^\s;+]+)", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE)
    found = {(each["name"], each["version"]) for each in bill["components"]}
    assert found == {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in pinned}
    references = [each["bom-ref"] for each in bill["components"]]
    assert len(set(references)) == len(references)
    assert set(bill["dependencies"][0]["dependsOn"]) == set(references)
    assert json.dumps(bill) == json.dumps(sbom.bill_of_materials(packages, locked.runtime_names(packages)))


def test_what_runs_on_a_device_is_told_from_what_only_tests(release) -> None:
    locked, sbom = release
    packages = locked.locked_packages()
    rows = {row["package"]: row for row in csv.DictReader(
        io.StringIO(sbom.licence_list(packages, locked.runtime_names(packages)))
    )}  # fmt: skip
    assert {rows[name]["part"] for name in ("numpy", "pydantic-core", "pydicom", "python-gdcm")} == {"runtime"}
    assert {rows[name]["part"] for name in ("pytest", "mypy", "torch")} == {"development"}
    assert "BSD-3-Clause" in rows["numpy"]["licence"]


def test_no_package_that_runs_on_a_device_is_under_the_gpl(release) -> None:
    locked, _ = release
    packages = locked.locked_packages()
    runtime = locked.runtime_names(packages)
    wrong = {
        package.name: package.licence
        for package in packages
        if package.name in runtime and re.search(r"GPL|GNU|SSPL|Commons Clause", package.licence)
    }
    assert wrong == {}


def test_a_line_that_pins_nothing_is_refused(release, tmp_path: Path) -> None:
    locked, _ = release
    (tmp_path / "lock").write_text("numpy>=2\n")
    with pytest.raises(ValueError, match="pins no version"):
        locked.locked_packages(tmp_path / "lock")
