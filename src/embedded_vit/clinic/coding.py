"""What structures are called in DICOM: codes of SNOMED CT where they are known, else a private code of ours.

A structure has a known code if its label brings one (`Label.snomed`) or its name is in the table here. Any other gets a
code of the scheme 99EVIT, which is made of its name alone: `EV` and the first twelve digits of the SHA-256 of the name
in lower case. So the same name has the same code in every model.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from highdicom.sr.coding import CodedConcept

from embedded_vit.labels import Label

__all__ = ["PRIVATE_SCHEME", "SegmentCode", "code_of"]

PRIVATE_SCHEME = "99EVIT"  # names that begin with 99 are for private use (PS3.3 section 8.2)
SNOMED = "SCT"
MOST_CHARACTERS = 64  # of the meaning of a code

# Where in the hippocampus; parts that the Decathlon names, with the qualifiers of PS3.16 CID 2 and its neighbours.
QUALIFIERS = {"anterior": ("255549009", "Anterior"), "posterior": ("255551008", "Posterior")}
HIPPOCAMPUS = ("5366008", "Hippocampus")


@dataclass(frozen=True, eq=False)
class SegmentCode:
    """The codes of a segment.

    Attributes:
        category: What kind of thing it is.
        structure: Which one.
        modifier: Which part or side of it; None for all of it.
    """

    category: CodedConcept
    structure: CodedConcept
    modifier: CodedConcept | None = None


def code_of(label: Label, names: tuple[str, ...] = ()) -> SegmentCode:
    """Return the codes of a structure.

    Args:
        label: The structure.
        names: Of all structures of its model: "anterior" alone says little, and together with "posterior" it is a part
            of the hippocampus, as in the Decathlon.

    Source: PS3.16, CID 7150 (categories), CID 4031 (body parts).
    """
    category = CodedConcept("91723000", SNOMED, "Anatomical Structure")
    plain = re.sub(r"[\s_.-]+", " ", label.name.lower()).strip()
    if label.snomed is not None:
        return SegmentCode(category, CodedConcept(label.snomed, SNOMED, _meaning(label.name)))
    words = plain.replace("hippocampus", "").split()
    of_hippocampus = "hippocampus" in plain or {name.lower() for name in names} == set(QUALIFIERS)
    if of_hippocampus and (not words or (len(words) == 1 and words[0] in QUALIFIERS)):
        modifier = CodedConcept(QUALIFIERS[words[0]][0], SNOMED, QUALIFIERS[words[0]][1]) if words else None
        return SegmentCode(category, CodedConcept(HIPPOCAMPUS[0], SNOMED, HIPPOCAMPUS[1]), modifier)
    digits = hashlib.sha256(label.name.lower().encode()).hexdigest()[:12].upper()
    return SegmentCode(category, CodedConcept(f"EV{digits}", PRIVATE_SCHEME, _meaning(label.name)))


def _meaning(name: str) -> str:
    """Return a name as the meaning of a code: capitalised, without what DICOM does not allow in a text."""
    text = re.sub(r"[\x00-\x1f\\]+", " ", name).strip() or "Unnamed"
    return (text[0].upper() + text[1:])[:MOST_CHARACTERS]
