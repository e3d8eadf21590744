"""Pages in Chromium, opened from the disk: no request, the masks of `predict`, what is refused, keyboard, WCAG AA."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from artifact_fixtures import DARK_AND_BRIGHT, dark_and_bright_graph, write_artifact

import embedded_vit
from embedded_vit.builtin.index import artifact_path
from embedded_vit.contract import SpacingRange
from embedded_vit.page import write_page
from embedded_vit.page.assembling import MOST_BYTES
from embedded_vit.preprocessing import Preprocessing

pytestmark = pytest.mark.slow
Browse = Callable[..., dict[str, Any]]
CANARY = "<b>DOE^JANE</b>"


@pytest.fixture(scope="module")
def threshold_page(page_template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A page of a model that labels what is bright and what is dark, with a hostile name, and the model."""
    folder = tmp_path_factory.mktemp("page")
    fields: dict[str, Any] = {
        "preprocessing": Preprocessing.for_modality("CT", image_size=32),
        "spacing_range": SpacingRange(slices_mm=(0.5, 5.0), in_plane_mm=(0.5, 2.5)),
        "labels": DARK_AND_BRIGHT,
        "name": "</script><script>alert(1)</script>",
    }
    model = write_artifact(folder / "model.onnx", dark_and_bright_graph(), **fields)
    write_page(model, folder / "page.html")
    return folder / "page.html", model


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CT with a bright block, and a name that is markup."""
    rng = np.random.default_rng(0)
    array = rng.normal(0, 20, (40, 36, 12)).astype(np.int16)
    array[:8] = -1000
    array[15:25, 10:20, 3:9] = 300
    path = tmp_path_factory.mktemp("scan") / f"{CANARY.replace('/', '')}.nii.gz"
    nibabel.save(
        nibabel.Nifti1Image(array, np.array([[0, -1.5, 0, 9], [1.5, 0, 0, 4], [0, 0, -2.0, 1], [0, 0, 0, 1]])), path
    )
    return path


def test_a_scan_is_dropped_segmented_shown_and_saved(
    browse: Browse, threshold_page: tuple[Path, Path], scan: Path, tmp_path: Path
) -> None:
    page, model = threshold_page
    steps = [
        {"do": "open"},
        {"do": "axe"},
        {"do": "drop", "files": [str(scan)]},
        {"do": "save", "what": "mask", "path": str(tmp_path / "mask.nii.gz")},
        {"do": "save", "what": "json", "path": str(tmp_path / "mask.json")},
        {"do": "save", "what": "picture", "path": str(tmp_path / "picture.png")},
        {"do": "toggle", "label": 1},
        {"do": "axe"},
        {"do": "text", "where": ".views"},
        *({"do": "screenshot", "path": str(tmp_path / f"{scheme}-{width}.png"), "width": width, "scheme": scheme}
          for scheme in ("light", "dark") for width in (1280, 390)),
        {"do": "axe"},
    ]  # fmt: skip
    answer = browse(page, steps, tmp_path)
    opened, axe_before, shown, saved, _, _, toggled, axe_after, views, *shots, axe_dark = answer["answers"]
    assert answer["requests"] == []
    assert answer["complaints"] == []
    assert opened["title"].startswith("</script>")
    assert axe_before["violations"] == axe_after["violations"] == axe_dark["violations"] == []
    assert shown["refused"] is None
    assert shown["note"] == []  # the viewer drew
    assert toggled == {"shown": False}
    assert views["text"].split()[:3] == ["View", "Planes", "Axial"]  # without 3-D, as nothing but software draws here
    assert all(shot["overflow"] <= 0 and shot["research"] for shot in shots)

    expected = embedded_vit.load(model).predict(scan)
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj), expected.mask.array)
    np.testing.assert_array_equal(mask.affine, nibabel.load(scan).affine)
    assert saved["name"].endswith("_mask.nii.gz")
    summary, wanted = json.loads((tmp_path / "mask.json").read_text()), expected.summary()
    assert set(summary) == set(wanted)
    assert summary["regions"]["both"] > max(summary["volumes"].values()) > 0
    assert {key: summary[key] for key in summary if key not in ("engine", "seconds")} == {
        key: wanted[key] for key in wanted if key not in ("engine", "seconds")
    }
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_cancelled_scan_leaves_nothing_behind(
    browse: Browse, threshold_page: tuple[Path, Path], scan: Path, tmp_path: Path
) -> None:
    page, model = threshold_page
    long = tmp_path / "long.nii"
    array = np.random.default_rng(0).normal(0, 20, (80, 80, 400)).astype(np.int16)
    array[:8] = -1000
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), long)
    cancel = [{"do": "cancel", "files": [str(long)], "after": 3}, {"do": "memory"}]
    steps = [
        {"do": "open", "hash": "#streams=1"},
        *(4 * cancel),
        {"do": "axe"},
        {"do": "choose", "files": [str(scan)]},
        {"do": "save", "what": "mask", "path": str(tmp_path / "mask.nii.gz")},
    ]
    answer = browse(page, steps, tmp_path)
    *cancelled, axe, shown, _ = answer["answers"][1:]
    for stopped in cancelled[::2]:
        assert stopped["refused"] == "Cancelled. Nothing was kept."
        assert stopped["left"] == 0  # no progress, no result, no canvas
        assert stopped["drop"] > 0
        assert 3 <= stopped["at"] < 400
    first, *_, fourth = cancelled[1::2]
    assert fourth["workers"] == 2
    assert fourth["bytes"] - first["bytes"] < 2 * array.nbytes  # three scans that are kept have more; one may wait
    assert axe["violations"] == answer["complaints"] == answer["requests"] == []
    assert shown["refused"] is None
    mask = np.asanyarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, embedded_vit.load(model).predict(scan).mask.array)


def test_what_does_not_fit_is_refused_and_can_be_forced(
    browse: Browse, threshold_page: tuple[Path, Path], scan: Path, tmp_path: Path
) -> None:
    page, _ = threshold_page
    thick = tmp_path / "thick.nii.gz"
    image = nibabel.load(scan)
    nibabel.save(nibabel.Nifti1Image(np.asanyarray(image.dataobj), np.diag([1.5, 1.5, 9.0, 1.0])), thick)
    damaged = tmp_path / "damaged.nii.gz"
    damaged.write_bytes(scan.read_bytes()[:3000])
    steps = [
        {"do": "open", "hash": "#streams=1"},
        {"do": "choose", "files": [str(damaged)]},
        {"do": "axe"},
        {"do": "choose", "files": [str(thick)]},
        {"do": "force"},
        {"do": "save", "what": "json", "path": str(tmp_path / "forced.json")},
    ]
    answer = browse(page, steps, tmp_path)
    _, broken, axe, refused, forced, _ = answer["answers"]
    assert answer["requests"] == []
    assert "damaged.nii.gz: truncated" in broken["refused"]
    assert not broken["overrulable"]
    assert axe["violations"] == []
    assert refused["overrulable"]
    assert refused["refused"] == "thick.nii.gz: refused: slices lie 9 mm apart, the artifact is made for 0.5 to 5 mm"
    assert forced["refused"] is None
    assert json.loads((tmp_path / "forced.json").read_text())["forced"] is True


def test_a_built_in_page_has_its_card_and_a_size_that_mail_takes(
    browse: Browse, page_template: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    assert write_page(artifact_path("abdomen-ct-fast"), page) <= MOST_BYTES
    narrow = {"do": "screenshot", "path": str(tmp_path / "card.png"), "width": 390, "full": True}
    steps = [{"do": "open"}, {"do": "text", "where": "#model-card"}, {"do": "axe"}, narrow]
    answer = browse(page, steps, tmp_path)
    _, card, axe, shot = answer["answers"]
    assert answer["requests"] == answer["complaints"] == axe["violations"] == []
    assert shot["overflow"] <= 0
    for word in ("Dice", "liver", "Known failures", "CT in Hounsfield units"):
        assert word in card["text"]
