"""What the window, the slices and the field of view of a plan gain: equal trainings with and without them.

    python benchmarks/planned_scans.py [--anatomy chest] [--patients 12] [--minutes 2] [--seeds 0]
    python benchmarks/planned_scans.py --data DATA [--patient PATTERN] [--passes 20]

Phantoms, or a data set of yours, are planned as `build` does for these minutes. Each variant is trained for the planned
passes from the same first weights, and scored on the patients that are held out: "planned" as the plan says, "fixed
window" with -125 to 275 HU in place of the planned window, "axial slices" in place of the planned ones, "whole slice"
without the planned field of view. However busy the computer is, all variants see equally many passes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
from footnote import footnote

from embedded_vit.columns import in_columns
from embedded_vit.datasets import PhantomSettings, open_data_set, write_phantoms
from embedded_vit.datasets.data_set import DataSet
from embedded_vit.datasets.phantom.anatomies import AnatomyName
from embedded_vit.evaluation.evaluating import score_model
from embedded_vit.planning.build_plan import BuildPlan
from embedded_vit.planning.planning import plan_for
from embedded_vit.preprocessing import CT_WINDOW_HU
from embedded_vit.training.progress import TrainingListener
from embedded_vit.training.training import train_planned

SLICES = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a data set in place of phantoms")
    parser.add_argument("--patient", help="pattern of the names of its cases; what it matches is the patient")
    parser.add_argument("--anatomy", choices=get_args(AnatomyName), default="chest")
    parser.add_argument("--patients", type=int, default=12)
    parser.add_argument("--size", type=int, default=128, help="rows and columns of a phantom")
    parser.add_argument("--minutes", type=float, default=2.0, help="of each training, as planned")
    parser.add_argument("--passes", type=int, help="at each image size; by default as planned for these minutes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = arguments.data or phantoms(folder / "data", arguments.anatomy, arguments.patients, arguments.size)
        data_set = open_data_set(data, patient=arguments.patient)
        plan = plan_for(data_set, minutes=arguments.minutes, patient=arguments.patient)
        if arguments.passes:
            coarse = arguments.passes if plan.training.coarse_epochs else 0
            settings = plan.training.model_copy(update={"epochs": arguments.passes, "coarse_epochs": coarse})
            plan = plan.model_copy(update={"training": settings})
        variants = variants_of(plan)
        dice = {
            variant: np.mean(
                [trained(plan, change, data_set, folder / f"{variant} {seed}", seed) for seed in arguments.seeds],
                axis=0,
            )
            for variant, change in variants.items()
        }
    print(footnote())
    epochs = f"{plan.training.coarse_epochs} + {plan.training.epochs} passes, seeds {arguments.seeds}"
    print(f"{arguments.data or arguments.anatomy}, {plan.network.image_size} pixels, {epochs}")
    print(*(plan.reasons[name] for name in ("patients", "intensities", "orientation", "field_of_view")), "", sep="\n")
    rows = [["Dice, held out", "mean", *data_set.labels.names]]
    rows += [[variant, *(f"{value:.3f}" for value in (values.mean(), *values))] for variant, values in dice.items()]
    print("\n".join(in_columns(rows, left=1)))


def phantoms(folder: Path, anatomy: AnatomyName, patients: int, size: int) -> Path:
    """Write phantoms; the spine has the slices that such scans have."""
    slices = None if anatomy == "spine" else SLICES
    settings = PhantomSettings(size=size, slices=slices, anatomy=anatomy)
    write_phantoms(folder, patients, layout="nnunet", settings=settings)
    return folder


def variants_of(plan: BuildPlan) -> dict[str, dict[str, Any]]:
    """Return what each variant changes of the planned preprocessing; one that changes nothing is left out."""
    planned = plan.preprocessing
    variants: dict[str, dict[str, Any]] = {"planned": {}}
    if planned.window_hu not in (None, CT_WINDOW_HU):
        variants["fixed window"] = {"window_hu": CT_WINDOW_HU}
    if planned.orientation != "SLP":
        variants["axial slices"] = {"orientation": "SLP", "context_mm": None}
    if planned.field_of_view != "slice" or planned.field_mm is not None:
        variants["whole slice"] = {"field_of_view": "slice", "field_mm": None}
    return variants


def trained(plan: BuildPlan, change: dict[str, Any], data_set: DataSet, folder: Path, seed: int) -> np.ndarray:
    """Train a variant and return the held-out Dice of each structure."""
    config = plan.run_config(data_set)
    config = config.model_copy(update={"preprocessing": config.preprocessing.model_copy(update=change)})
    train_planned(
        *(data_set, config.with_training(seed=seed), folder),
        split=plan.split_of(data_set),
        threads=1,
        listener=TrainingListener(),
    )
    evaluation, _ = score_model(folder, data_set.folder, threads=1, bars=False)
    return np.array([organ.mean for organ in evaluation.summaries["dice"].organs], float)


if __name__ == "__main__":
    main()
