"""Run the awkward inputs beside the repository through the readers, and print a table of what becomes of each.

    python benchmarks/cases.py [FOLDER]          (FOLDER: ../shared/cases)

Each script of the folder makes inputs out of phantoms; `files/` holds real ones. What should become of an input stands
here and in `cases_of_data_sets.py`, so the exit status is 1 where something else became of it, or where nobody says
what should become of a script. No scan is segmented: it is accepted, refused, or accepted and told of. Data sets are
read, two scripts train for some minutes. The folder is not part of the project; where it is missing, this says so and
ends.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from cases_of_data_sets import DATA_SETS, PROGRAMS, Row, data_set_rows, program_rows

from embedded_vit.columns import in_columns
from embedded_vit.datasets.phantom_writer import write_phantoms
from embedded_vit.errors import EmbeddedVitError
from embedded_vit.hounsfield import hounsfield_problems
from embedded_vit.io import open_scan
from embedded_vit.preprocessing import Intensities, Preprocessing
from embedded_vit.volume import Volume

DEFAULT_FOLDER = Path(__file__).resolve().parents[2] / "shared" / "cases"
# What becomes of each file or folder that a script makes; of all others of it, the entry "".
EXPECTED = {
    "hu_offset": {"hu": "accepted", "": "refused"},
    "qform_sform": {"agree": "accepted", "sform_talairach": "accepted", "": "told"},
    "quaternion": {"": "accepted"},
    "dicom_variants": {"padded_no_intercept": "refused", "a_third_without_position": "told", "": "accepted"},
    "mr_intensities": {"": "accepted"},
    # The pixels of gantry_tilt were made noise; its places are tested in tests/io.
    "files": {"jpeg_extended_12_bit": "accepted", "": "refused"},
}


def main(arguments: Sequence[str]) -> int:
    """Run all cases; return the exit status."""
    folder = Path(arguments[0]) if arguments else DEFAULT_FOLDER
    if not folder.is_dir():
        print(f"{folder}: not there, so there are no cases to run")
        return 0
    with tempfile.TemporaryDirectory() as place:
        rows = [*_unknown(folder), *_rows(folder, Path(place)), *data_set_rows(folder, Path(place))]
        rows += program_rows(folder, Path(place))
    print("\n".join(in_columns([("case", "expected", "found", "because"), *rows])))
    return int(any(expected != found for _, expected, found, _ in rows))


def _unknown(folder: Path) -> Iterator[Row]:
    """Yield a line for every script of the folder of which nobody says what should become of it."""
    known = EXPECTED.keys() | DATA_SETS.keys() | PROGRAMS.keys()
    for path in sorted(folder.glob("*.py")):
        if path.stem not in known:
            yield path.stem, "listed", "not listed", "say in benchmarks/cases*.py what should become of it"


def _rows(folder: Path, place: Path) -> Iterator[Row]:
    """Yield a line for every case: name, what is expected, what was found, the message."""
    phantoms = place / "phantoms"
    write_phantoms(phantoms, 2, layout="decathlon")
    scan = next((phantoms / "imagesTr").glob("*.nii.gz"))
    for script, expected in EXPECTED.items():
        if not (folder / "files" if script == "files" else folder / f"{script}.py").exists():
            continue
        made = folder / "files"
        if script != "files":
            made = place / script
            command = [sys.executable, str(folder / f"{script}.py"), str(scan), str(made)]
            subprocess.run(command, check=True, capture_output=True)
        for path in sorted(made.iterdir()):
            name = path.name.split(".")[0]
            found, reason = _outcome(path, "MR" if script == "mr_intensities" else "CT", place / "one")
            yield f"{script}/{path.name}", expected.get(name, expected[""]), found, reason[:100]


def _outcome(path: Path, modality: str, single: Path) -> tuple[str, str]:
    """Read an input; return "accepted", "told" or "refused", and the message."""
    if path.suffix == ".dcm":  # a folder of one file
        folder = single / path.stem
        folder.mkdir(parents=True)
        shutil.copy(path, folder)
        path = folder
    try:
        with open_scan(path, modality=modality) as source:
            volume = source.read()
        problems = list(hounsfield_problems(volume)) if modality == "CT" and source.modality in (None, "CT") else []
        if source.modality not in (None, modality):
            problems.append(f"the modality is {source.modality}")
        if modality == "MR" and not _is_bright(volume):
            problems.append("all intensities become one value")
    except EmbeddedVitError as error:
        return "refused", str(error).rpartition("/")[2]
    if problems:
        return "refused", problems[0]
    return ("told", source.remarks[0]) if source.remarks else ("accepted", "")


def _is_bright(volume: Volume) -> bool:
    """Whether a network would see something: the middle slice is neither black nor white."""
    upright = volume.reoriented()
    intensities = Intensities.of(upright, Preprocessing.for_modality("MR", image_size=64))
    middle = intensities.normalise(upright.intensities(upright.shape[0] // 2))
    return 0.02 < float(np.mean(middle)) < 0.98 and float(np.std(middle)) > 0.02


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
