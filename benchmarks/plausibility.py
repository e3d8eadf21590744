"""How often a model warns of scans that show another body part, and how often it does so wrongly.

    python benchmarks/plausibility.py --model abdomen-ct-fast --phantoms 200 [--scans SCAN ...]

Phantoms of each anatomy are segmented whatever the contract says (an MR spine as if it were a CT too), and counted
where the mask was found implausible: warned of, or refused because nothing of it is plausible. SCAN ... are real scans,
each of which is a row of its own.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

from footnote import footnote

from embedded_vit.builtin.resolve import model_path
from embedded_vit.datasets.phantom import ANATOMIES, AnatomyName, PhantomSettings, make_phantom
from embedded_vit.errors import ConfigError, EmbeddedVitError
from embedded_vit.plausibility import Judgement
from embedded_vit.predict.predictor import Predictor
from embedded_vit.volume import Volume

SLICE_MM = 6.5  # about; coarse, so that many phantoms take little time
HEIGHTS_MM = {"abdomen": 232, "chest": 270, "head": 168, "knee": 180, "spine": 63, "vessels": 198}
SEED = 1000  # no phantom that a model's ranges were made from has it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="abdomen-ct-fast", help="artifact, or name of a built-in model")
    parser.add_argument("--phantoms", type=int, default=200, help="of each anatomy (default: %(default)s)")
    parser.add_argument("--anatomies", nargs="+", choices=get_args(AnatomyName), default=get_args(AnatomyName))
    parser.add_argument("--size", type=int, default=128, help="rows and columns (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--scans", nargs="*", default=[], help="files or DICOM folders")
    arguments = parser.parse_args()
    predictor = Predictor.load(model_path(arguments.model), threads=1)
    if predictor.manifest.plausibility is None:
        raise ConfigError(f"{arguments.model}: its manifest does not say what is plausible; export it again")
    print(footnote())
    print("| scans | number | warned | refused | either | why, of the first |\n|---|---|---|---|---|---|", flush=True)
    for anatomy in arguments.anatomies:
        scans = phantoms(anatomy, arguments.phantoms, arguments.size, arguments.seed)
        print(row(anatomy, judgements(predictor, scans)), flush=True)
    for scan in arguments.scans:
        print(row(Path(scan).name, judgements(predictor, [scan])), flush=True)


def phantoms(anatomy: AnatomyName, number: int, size: int, seed: int) -> Iterator[Volume]:
    """Generate phantoms with slices about `SLICE_MM` apart."""
    slices = 15 if ANATOMIES[anatomy].modality == "MR" else round(HEIGHTS_MM[anatomy] / SLICE_MM)
    settings = PhantomSettings(size=size, slices=slices, anatomy=anatomy)
    for index in range(number):
        yield make_phantom(index, seed=seed, settings=settings)[0]


def judgements(predictor: Predictor, scans: Iterable[Volume | str]) -> Iterator[Judgement]:
    """Yield what is found of each scan's mask."""
    for scan in scans:
        judgement = predictor.predict(scan, force=True).judgement
        assert judgement is not None  # the manifest has ranges
        yield judgement


def row(name: str, found: Iterable[Judgement]) -> str:
    """Return a line of the table: how many were warned of without being refused, refused, and either."""
    started = time.perf_counter()
    every = list(found)
    refused = sum(judgement.nothing_plausible for judgement in every)
    either = sum(bool(judgement.warnings) for judgement in every)
    first = next((judgement.warnings[0] for judgement in every if judgement.warnings), "-")
    print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    share = f"{100 * either / len(every):.1f} %" if every else "-"
    return f"| {name} | {len(every)} | {either - refused} | {refused} | {share} | {first} |"


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"plausibility.py: {error}")
