"""highdicom looks modules of the standard up in a lighter way, and finds the same."""

from __future__ import annotations

import json
from pathlib import Path

import highdicom
import pytest
from highdicom import base

from embedded_vit.clinic.standard_modules import StandardModules, lighten

TABLE = Path(highdicom.__file__).parent / "_standard" / "module_attribute_map.json"


def test_the_modules_are_the_whole_table() -> None:
    modules = StandardModules(TABLE)
    parts = (b'\n  "' + name.encode() + b'": ' + modules.text(name) for name in modules)
    assert b"{" + b",".join(parts) + b"\n}" == TABLE.read_bytes().strip()
    assert modules["patient"][0]["keyword"] == "ReferencedPatientSequence"
    assert [each["path"] for each in modules["patient"]] == [
        each["path"] for each in json.loads(modules.text("patient"))
    ]


def test_highdicom_uses_it() -> None:
    assert lighten()
    assert isinstance(base.get_module_attribute_map(), StandardModules)


def test_a_table_that_is_laid_out_in_another_way_is_left_to_highdicom(tmp_path: Path) -> None:
    for text in ('{"patient": [{"keyword": "PatientName"}]}', '{\n  "patient": {\n  }\n}'):
        (tmp_path / "table.json").write_text(text)
        with pytest.raises(ValueError, match=r"table\.json"):
            StandardModules(tmp_path / "table.json")
