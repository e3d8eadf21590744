"""What `dataset.json` says of labels: ignored voxels, regions, and structures that nobody marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedded_vit.datasets.label_scheme import LabelScheme, scheme_of, unlabelled_of
from embedded_vit.errors import DataSetError, FileFormatError
from embedded_vit.labels import IGNORED, LabelSet
from embedded_vit.volume import UPRIGHT_AFFINE, LabelMap

SOURCE = Path("dataset.json")
SINGLE = {"background": 0, "necrosis": 1, "oedema": 2, "enhancing": 3}


def scheme(labels: dict[str, Any], **others: Any) -> LabelScheme:
    return scheme_of({"labels": labels, **others}, SOURCE)


def mask(*numbers: int) -> LabelMap:
    return LabelMap(np.array(numbers, np.uint8).reshape(1, 1, -1), UPRIGHT_AFFINE, source="mask.nii.gz")


def regions(labels: LabelSet) -> dict[str, tuple[int, ...]]:
    return {region.name: region.members for region in labels.regions}


@pytest.mark.parametrize("number", [4, 7, 255])
def test_ignored_voxels_are_told_from_structures(number: int) -> None:
    found = scheme({**SINGLE, "ignore": number})
    assert found.ignores
    assert found.labels.names == ("necrosis", "oedema", "enhancing")
    assert found.apply(mask(0, 3, number, 1)).array.ravel().tolist() == [0, 3, IGNORED, 1]
    assert not scheme(SINGLE).ignores


def test_regions_of_numbers_name_the_structures_that_nobody_names() -> None:
    found = scheme({"background": 0, "whole": [1, 2, 3], "core": [1, 3], "enhancing": [3]})
    assert found.labels.names == ("rest of core", "rest of whole", "enhancing")
    assert regions(found.labels) == {"whole": (1, 2, 3), "core": (1, 3)}
    mixed = scheme({"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": 3})
    assert mixed.labels.names == ("rest of whole tumor", "rest of tumor core", "enhancing tumor")


def test_regions_beside_structures() -> None:
    by_name = scheme(SINGLE, regions={"whole": ["necrosis", "Oedema", "enhancing"], "core": [1, 3]})
    assert by_name.labels.names == ("necrosis", "oedema", "enhancing")
    assert regions(by_name.labels) == {"whole": (1, 2, 3), "core": (1, 3)}
    assert regions(by_name.chosen(["enhancing", "necrosis"], SOURCE).labels) == {"core": (2, 1)}


@pytest.mark.parametrize(
    ("labels", "others", "message"),
    [
        (SINGLE, {"regions": {"whole": ["oedem"]}}, "the region 'whole' names 'oedem' .did you mean 'oedema'"),
        (SINGLE, {"regions": {"whole": [1, 4]}}, "'whole' holds a number above 3"),
        (SINGLE, {"regions": [1]}, "'regions' must be"),
        ({"background": 0, "whole": [1, 3]}, {}, "without gaps or repeats, got 0, 1, 3"),
        ({**SINGLE, "ignore": 2}, {}, "'ignore' is 2; a number above the structures'"),
        ({**SINGLE, "ignore": 256}, {}, "'ignore' is 256"),
    ],
)
def test_labels_that_cannot_be_used_are_one_line(labels: dict[str, Any], others: dict[str, Any], message: str) -> None:
    with pytest.raises(DataSetError, match=message) as caught:
        scheme(labels, **others)
    assert "\n" not in str(caught.value)


def test_unlabelled_structures_are_found_by_name() -> None:
    labels = scheme(SINGLE).labels
    stated = {"unlabelled": {"pt_7": ["Enhancing", "necrosis"]}}
    assert unlabelled_of(stated, labels, ["pt_6", "pt_7"], SOURCE) == {"pt_7": (1, 3)}
    with pytest.raises(DataSetError, match=r"names the case 'pt_7' .did you mean 'pt_71'"):
        unlabelled_of(stated, labels, ["pt_71"], SOURCE)
    with pytest.raises(DataSetError, match="'unlabelled' names 'liver'"):
        unlabelled_of({"unlabelled": {"pt_7": ["liver"]}}, labels, ["pt_7"], SOURCE)
    with pytest.raises(DataSetError, match="'unlabelled' must be"):
        unlabelled_of({"unlabelled": {"pt_7": "liver"}}, labels, ["pt_7"], SOURCE)


def test_255_is_the_only_structure_unless_it_is_ignored() -> None:
    one = {"background": 0, "lesion": 1}
    assert scheme(one).apply(mask(0, 255)).array.ravel().tolist() == [0, 1]
    assert scheme({**one, "ignore": 255}).apply(mask(0, 255, 1)).array.ravel().tolist() == [0, IGNORED, 1]
    with pytest.raises(FileFormatError, match=r"holds label 255; the data set's labels end at 3"):
        scheme(SINGLE).apply(mask(0, 255))


def test_a_mask_that_needs_no_change_is_not_copied() -> None:
    given = mask(0, 3, 1)
    assert scheme(SINGLE).apply(given) is given
