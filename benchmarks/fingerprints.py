"""The figures of docs/planning.md that come from the data: likeness, spread, windows and fields of view.

    python benchmarks/fingerprints.py DATA [DATA ...] [--patient PATTERN]

Prints for each data set what `embedded-vit plan` measures on its training cases and what it decides from that. Nothing
is trained or timed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from footnote import footnote

from embedded_vit.datasets import make_split, open_data_set
from embedded_vit.planning.fingerprint import fingerprint_of
from embedded_vit.planning.geometry import choose_field_of_view, choose_mirror, choose_orientation
from embedded_vit.planning.intensities import choose_intensities


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--patient", help="pattern of the cases' names; what it matches is the patient")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for folder in arguments.data:
        data_set = open_data_set(folder, patient=arguments.patient)
        split = make_split(data_set, seed=arguments.seed)
        found = fingerprint_of(data_set, sorted(split.train + split.validation))
        orientation = choose_orientation(found)
        patients = len({case.patient for case in data_set.cases})
        print(f"{data_set.name}: {len(data_set.cases)} cases of {patients} patients, {len(found.figures)} looked at")
        for decision in (
            choose_intensities(found),
            orientation,
            choose_field_of_view(found, orientation.value),
            choose_mirror(found),
        ):
            print(f"  {decision.reason}")
    print(footnote())


if __name__ == "__main__":
    main()
