"""The names of structures within a mask's NIfTI file: a label table in a header extension.

Connectome Workbench introduced it under the code 30 (NIFTI_ECODE_CARET), shows the names and the colours, and looks at
the first extension alone. TotalSegmentator writes the same table under the code 0, which Workbench does not read.
Programs that know no extension read over it; nibabel gives its text as `header.extensions[0].content`.

Source: the NIfTI-1 standard, "nifti1_extension"; the label table of the GIFTI file format, version 1.0, section 8;
    `nifti_ext_header.py` of TotalSegmentator.
"""

from __future__ import annotations

import struct
from html import escape

from embedded_vit.labels import LabelSet
from embedded_vit.printable import printable

__all__ = ["names_extension"]

CARET = 30
BLOCK = 16  # bytes, of which an extension is a multiple
INTRODUCTION = 8  # bytes: its size and its code
DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<CaretExtension>
<VolumeInformation Index="0">
<LabelTable>
{labels}
</LabelTable>
<VolumeType><![CDATA[Label]]></VolumeType>
</VolumeInformation>
</CaretExtension>
"""
LABEL = '<Label Key="{number}" Red="{red:.4g}" Green="{green:.4g}" Blue="{blue:.4g}" Alpha="1">{name}</Label>'


def names_extension(labels: LabelSet) -> bytes:
    """Return the extension that says what the numbers of a mask stand for, in which colours; its size included."""
    rows = []
    for label in labels.labels:
        red, green, blue = (part / 255 for part in label.rgb)
        name = escape(printable(label.name), quote=False)
        rows.append(LABEL.format(number=label.id, red=red, green=green, blue=blue, name=name))
    text = DOCUMENT.format(labels="\n".join(rows)).encode()
    size = -(-(len(text) + INTRODUCTION) // BLOCK) * BLOCK
    return struct.pack("=ii", size, CARET) + text.ljust(size - INTRODUCTION, b"\0")
