"""A page in Debian's Firefox opens from the disk and gives the volumes of `predict`; skipped where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from artifact_fixtures import write_artifact
from firefox_driver import Firefox, running_firefox

import embedded_vit
from embedded_vit.page import write_page

pytestmark = pytest.mark.slow


@pytest.fixture
def firefox(tmp_path: Path) -> Iterator[Firefox]:
    program = shutil.which("firefox-esr")
    if program is None:
        pytest.skip("no firefox-esr: apt-get install firefox-esr")
    with running_firefox(program, tmp_path / "profile") as browser:
        yield browser


@pytest.mark.usefixtures("page_template")
def test_firefox_segments_a_scan_from_the_disk(firefox: Firefox, tmp_path: Path) -> None:
    hounsfield = np.random.default_rng(0).normal(0, 20, (40, 36, 12)).astype(np.int16)
    hounsfield[:8] = -1000
    hounsfield[15:25, 10:20, 3:9] = 300
    scan, model, page = (tmp_path / name for name in ("scan.nii.gz", "model.onnx", "page.html"))
    nibabel.save(nibabel.Nifti1Image(hounsfield, np.diag([1.5, 1.5, 2.0, 1.0])), scan)
    write_page(write_artifact(model), page)
    firefox.command("Navigate", url=f"{page.as_uri()}#streams=1")
    assert firefox.wait_for(".drop button") == "Choose a file"
    firefox.give_files("#file", [scan])
    shown = firefox.wait_for("#result[data-drawn], #refusal, .notice")
    expected = embedded_vit.load(model).predict(scan).volumes["bright"]
    row = firefox.run("return document.querySelector('#structures tbody').innerText")
    name, volume = row.split()
    assert (name, float(volume)) == ("bright", pytest.approx(expected, abs=0.051)), shown
