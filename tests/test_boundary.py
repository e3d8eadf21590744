"""What a library raises on a damaged file becomes one line; mistakes in our own code do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedded_vit.boundary import one_line_errors
from embedded_vit.errors import FileFormatError
from embedded_vit.io.dicom.label_objects import one_line


@pytest.mark.parametrize("guard", [one_line_errors, one_line])
def test_a_mistake_in_our_code_is_not_taken_for_a_damaged_file(guard) -> None:
    for mistake in (NameError("name 'x' is not defined"), UnboundLocalError("x"), MemoryError()):
        with pytest.raises(type(mistake)), guard(Path("a.dcm")):
            raise mistake
    for damage in (ValueError("bad tag"), KeyError("x"), AttributeError("x"), RecursionError()):
        with pytest.raises(FileFormatError, match=r"a\.dcm"), guard(Path("a.dcm")):
            raise damage


def test_a_library_that_is_missing_is_not_damage() -> None:
    with pytest.raises(ImportError), one_line_errors("a.nii"):
        raise ImportError("no such library")
    with pytest.raises(FileFormatError, match="dicom"), one_line(Path("a.dcm")):
        raise ModuleNotFoundError("no such library", name="pydicom")
