"""Canaries in every text field of a scan: in no output but the files that must name the patient."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import h5py
import nibabel
import numpy as np
from dicom_fixtures import write_series
from mutate import itk_file
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.datadict import DicomDictionary

from embedded_vit.datasets import PhantomSettings, write_phantoms
from faults.row import Outcome
from faults.small_scans import AFFINE, box, model

CANARY = "Canaria"
TEXT = ("LO", "SH", "PN", "LT", "ST", "UT", "UC")
MAY_NAME = ("_seg.dcm", "_sc.dcm")
OTHERS = 22  # calls besides those with fields of DICOM
REFUSED = 2  # exit status
PICTURES = (".png", ".jpg", ".tif")


@dataclass(frozen=True)
class Call:
    """A verb that reads what bears canaries.

    Attributes:
        what: Bears them.
        words: The verb and its arguments.
        place: The folder that it writes to.
        status: The exit status that is expected.
    """

    what: str
    words: list[object]
    place: Path
    status: int = 0

    def leaks(self) -> str:
        """Run the verb; return where canaries are, or what else went wrong."""
        self.place.mkdir(parents=True)
        command = [sys.executable, "-m", "embedded_vit", *map(str, self.words)]
        done = subprocess.run(command, capture_output=True, check=False)
        found = ["what is printed"] if CANARY.encode() in done.stdout + done.stderr else []
        found += leaking(self.place)
        if found:
            return f"in {found}"
        return "" if done.returncode == self.status else f"exit status {done.returncode}: {done.stderr[-200:]!r}"


def leaking(folder: Path) -> list[str]:
    """Return the files with canaries that must name nobody."""
    found = []
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() and not path.name.endswith(MAY_NAME) else b""
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        if CANARY.encode() in content:
            found.append(path.name)
    return found


def text_keywords() -> list[str]:
    """Return the keywords of all text fields of DICOM that may stand in a dataset of its own."""
    return sorted(
        keyword
        for tag, (vr, multiplicity, _, retired, keyword) in DicomDictionary.items()
        if vr in TEXT and multiplicity == "1" and not retired and keyword and tag >> 16 not in (0, 2, 4)
    )


def canaries_in(keywords: list[str]) -> dict[str, str]:
    """Return canaries by the keyword of the field."""
    # RescaleType says what the numbers are: another word is refused
    return {keyword: CANARY for keyword in keywords if keyword != "RescaleType"}


def series(folder: Path, keywords: list[str]) -> Path:
    """Write a series with canaries in these fields."""
    write_series(folder, np.transpose(box(3), (2, 1, 0)), PixelSpacing=[1.0, 1.0], **canaries_in(keywords))
    return folder


def nifti(path: Path, image: nibabel.Nifti1Image) -> Path:
    """Write an image with canaries in the text fields of its header, and in an extension."""
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[field] = CANARY
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", CANARY.encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def other_scans(folder: Path) -> Iterator[Path]:
    """Write a scan in each format but DICOM, with canaries in its text fields."""
    yield nifti(folder / "nifti" / "scan.nii.gz", nibabel.Nifti1Image(box(3), AFFINE))
    yield nifti(folder / "plain" / "scan.nii", nibabel.Nifti1Image(box(3), AFFINE))
    text, exif = PngInfo(), Image.Exif()
    for key in ("Title", "Author", "Description", "Comment"):
        text.add_text(key, CANARY)
        text.add_itxt(f"{key} too", CANARY, zip=False)
    for tag in (0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x013C, 0x8298):  # the texts of EXIF and TIFF
        exif[tag] = CANARY
    more = {"scan.png": {"pnginfo": text}, "scan.jpg": {"comment": CANARY}, "scan.tif": {"description": CANARY}}
    for name, texts in more.items():
        (folder / name[-3:]).mkdir()
        pixels = np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name[-3:] / name, exif=exif, **texts)  # type: ignore[arg-type]
        yield folder / name[-3:] / name
    (folder / "h5").mkdir()
    with h5py.File(folder / "h5" / "scan.npy.h5", "w") as file:
        for name in ("image", "label"):
            file[name] = np.transpose(np.clip((box(3) + 125) / 400, 0, 1), (2, 1, 0)).astype(np.float32)
            file[name].attrs["note"] = CANARY
        file.attrs["patient"] = CANARY
    yield folder / "h5" / "scan.npy.h5"
    if find_spec("SimpleITK"):
        for name, mark, line in (
            ("scan.nrrd", "kinds:", f"patient:={CANARY}\n# {CANARY}\n"),
            ("scan.mha", "ElementDataFile", f"Comment = {CANARY}\n"),
        ):
            (folder / name[-3:]).mkdir()
            path = folder / name[-3:] / name
            path.write_bytes(itk_file(name).replace(mark.encode(), (line + mark).encode(), 1))
            yield path


def damaged(scan: Path, folder: Path) -> Path:
    """Copy a scan without its last bytes, so that it is refused with its text in memory."""
    copy = Path(shutil.copytree(scan if scan.is_dir() else scan.parent, folder))
    path = min(copy.iterdir())
    path.write_bytes(path.read_bytes()[:-40])
    return copy if scan.is_dir() else path


def data_set(folder: Path) -> Path:
    """Write a labelled data set whose scans and masks bear canaries."""
    write_phantoms(folder, 4, layout="decathlon", settings=PhantomSettings(size=64, slices=8))
    for path in folder.rglob("*.nii.gz"):
        image = nibabel.load(path)
        nifti(path, nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine))
    return folder


def predictions(folder: Path, count: int) -> Iterator[Call]:
    """Yield predictions of scans in all formats, whole and damaged; at most `count` of fields of DICOM."""
    artifact, keywords = model(folder / "model"), text_keywords()

    def predict(what: str, scan: Path, name: str, *options: str, status: int = 0) -> Call:
        place = folder / "out" / name
        mask = place / ("case.png" if scan.suffix in PICTURES else "case.nii.gz")
        return Call(what, ["predict", artifact, scan, "-o", mask, "--force", *options], place, status)

    step = -(-len(keywords) // count)
    for start in range(0, len(keywords), step):
        fields = keywords[start : start + step]
        scan = series(folder / f"series{start}", fields)
        options = ["--format", "all"] if start % (2 * step) == 0 else []
        yield predict(f"{len(fields)} fields of DICOM from {fields[0]}", scan, scan.name, *options)
    whole = list(other_scans(folder / "scans"))
    for number, scan in enumerate(whole):
        yield predict(scan.name, scan, f"whole{number}", "--progress", "json")
    for number, scan in enumerate([series(folder / "all" / "series", keywords), *whole]):
        broken = damaged(scan, folder / f"damaged{number}")
        yield predict(f"damaged {scan.name}", broken, f"damage{number}", status=REFUSED)
    masks = folder / "out" / "masks"
    bulk = ["predict", artifact, folder / "scans" / "nifti", "-o", masks, "--workers", "2", "--probabilities"]
    yield Call("a folder of scans", bulk, masks)


def other_verbs(folder: Path) -> Iterator[Call]:
    """Yield the verbs that read the scans and masks of a data set."""
    data, out = data_set(folder / "data"), folder / "out"
    tiny = ["--image-size", "32", "--family", "unet", "--widths", "8", "16", "--epochs", "1", "--validation-cases", "1"]
    scored = ["--predictions", data / "labelsTr"]
    yield Call("data", ["data", data], out / "data")
    yield Call("plan", ["plan", "--data", data, "-o", out / "plan" / "plan"], out / "plan")
    yield Call("train", ["train", "--data", data, *tiny, "--threads", "1", "-o", out / "run" / "run"], out / "run")
    yield Call("evaluate", ["evaluate", "--data", data, *scored, "-o", out / "scores" / "scores"], out / "scores")


def canaries(count: int, folder: Path) -> Outcome:
    """Run verbs on scans with canaries; look into everything that was printed and written."""
    outcome = Outcome()
    for call in chain(predictions(folder, max(1, count - OTHERS)), other_verbs(folder)):
        wrong = call.leaks()
        outcome.count(good=not wrong, message=f"{call.what}: {wrong}")
    return outcome
