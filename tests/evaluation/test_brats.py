"""The rules of BraTS beside ours: what is in neither mask scores 1, not nothing."""

from __future__ import annotations

import numpy as np
import pytest

from embedded_vit.evaluation.brats import brats_document, brats_estimates, brats_lesions, lesion_estimates
from embedded_vit.evaluation.known_parts import scored
from embedded_vit.evaluation.protocol import PROTOCOLS
from embedded_vit.evaluation.results import CaseResult, Evaluation, Provenance
from embedded_vit.evaluation.table import text_table
from embedded_vit.labels import LabelSet, Region
from embedded_vit.volume import LabelMap

NAMES = LabelSet.from_names(["necrotic core", "oedema", "enhancing tumour"])
REGIONS = (Region(name="whole tumour", members=(1, 2, 3)), Region(name="tumour core", members=(1, 3)))
LABELS = NAMES.model_copy(update={"regions": REGIONS})
SHAPE, STEP_MM = (31, 48, 48), 5.0  # as long as the challenge's scans: 155 x 240 x 240 mm


def case(name: str, truth: np.ndarray, prediction: np.ndarray, unlabelled: tuple[int, ...] = ()) -> CaseResult:
    strict = PROTOCOLS["strict"]
    maps = [LabelMap(array.astype(np.uint8), np.diag([STEP_MM, STEP_MM, STEP_MM, 1])) for array in (prediction, truth)]
    scores, regions = scored(strict, *maps, LABELS, unlabelled, 1)
    lesions = brats_lesions(strict, *maps, LABELS, unlabelled)
    return CaseResult(name, "test", scores, "mm", 1.0, "", regions, lesions=lesions)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    """A tumour that is found as it is, and one without enhancing tumour, of which some is seen or none."""
    empty = np.zeros(SHAPE, np.uint8)
    full = empty.copy()
    full[12:18, 20:26, 20:26], full[13:17, 21:25, 21:25], full[14:16, 22:24, 22:24] = 2, 3, 1
    plain = np.where(full == 3, 1, full)  # no enhancing tumour
    cases = (
        case("found", full, full),
        case("right to see none", plain, plain),
        case("seen where there is none", plain, full),
        case("nobody marked it", plain, full, unlabelled=(3,)),
    )
    return Evaluation(cases, LABELS, PROTOCOLS["strict"], "test", "mm", Provenance({}, {"name": "b"}, "", {}, ""))


def test_absent_parts_score_one_and_seen_ones_zero_and_the_diagonal(evaluation: Evaluation) -> None:
    estimates = brats_estimates(evaluation)
    assert list(estimates) == ["whole tumour", "tumour core", "enhancing tumour"]
    enhancing = estimates["enhancing tumour"]
    assert enhancing["dice"].mean == pytest.approx((1 + 1 + 0) / 3)
    assert enhancing["hd95"].mean == pytest.approx((0 + 0 + 373.1287) / 3, abs=1e-4)
    assert estimates["whole tumour"]["dice"].mean == 1
    # Ours leaves out what is in neither mask.
    assert evaluation.summaries["dice"].organs[2].mean == pytest.approx((1 + 0) / 2)


def test_lesions_are_scored_by_themselves_where_somebody_marked_them(evaluation: Evaluation) -> None:
    assert set(evaluation.cases[3].lesions) == set()  # nobody marked enhancing tumour: no part is known
    estimates = lesion_estimates(evaluation)
    assert estimates["enhancing tumour"]["dice"].mean == pytest.approx((1 + 1 + 0) / 3)
    assert estimates["enhancing tumour"]["hd95"].mean == pytest.approx((0 + 0 + 374) / 3)
    assert estimates["whole tumour"]["dice"].mean == 1


def test_the_files_and_the_table_say_so(evaluation: Evaluation) -> None:
    document = brats_document(evaluation)["brats"]
    assert document["enhancing tumour"]["dice"]["mean"] == pytest.approx(2 / 3)
    assert "up to 2022" in document["rule"]
    lesions = brats_document(evaluation)["brats_lesions"]
    assert lesions["enhancing tumour"]["false_positives"] == 1
    assert lesions["whole tumour"]["lesions"] == 3
    [row] = [line for line in text_table(evaluation).splitlines() if line.startswith("BraTS lesions: enhancing")]
    assert "124.7" in row
    [row] = [line for line in text_table(evaluation).splitlines() if line.startswith("BraTS: enhancing tumour")]
    assert "0.667" in row
    assert "124.4" in row


def test_other_structures_have_no_such_scores(evaluation: Evaluation) -> None:
    from dataclasses import replace

    assert brats_estimates(replace(evaluation, labels=NAMES)) == {}
    assert brats_estimates(replace(evaluation, unit="voxels")) == {}
    assert brats_document(replace(evaluation, labels=NAMES)) == {}
