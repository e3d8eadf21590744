"""What the window and the field of view of a plan gain: trainings of equal length with and without them, on phantoms.

    python benchmarks/planned_scans.py [--anatomy chest] [--patients 12] [--minutes 2] [--seeds 0]

Phantoms are generated and planned as `build` does. Each variant is trained for the same minutes from the same first
weights and scored on the quarter of the patients that is held out: "planned" as the plan says, "fixed window" with -125
to 275 HU in place of the planned window, "whole slice" without the planned field of view. Ten minutes on one core.
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
    parser.add_argument("--anatomy", choices=get_args(AnatomyName), default="chest")
    parser.add_argument("--patients", type=int, default=12)
    parser.add_argument("--size", type=int, default=128, help="rows and columns of a phantom")
    parser.add_argument("--minutes", type=float, default=2.0, help="of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = PhantomSettings(size=arguments.size, slices=SLICES, anatomy=arguments.anatomy)
        write_phantoms(folder / "data", arguments.patients, layout="nnunet", settings=settings)
        data_set = open_data_set(folder / "data")
        plan = plan_for(data_set, minutes=arguments.minutes)
        variants = variants_of(plan)
        dice = {
            variant: np.mean(
                [
                    trained(plan, change, data_set, folder / f"{variant} {seed}", arguments.minutes, seed)
                    for seed in arguments.seeds
                ],
                axis=0,
            )
            for variant, change in variants.items()
        }
    print(footnote())
    print(f"{arguments.anatomy}, {arguments.patients} phantoms, {arguments.minutes:g} minutes, seeds {arguments.seeds}")
    print(f"{plan.reasons['intensities']}\n{plan.reasons['field_of_view']}\n")
    rows = [["Dice, held out", "mean", *data_set.labels.names]]
    rows += [[variant, *(f"{value:.3f}" for value in (values.mean(), *values))] for variant, values in dice.items()]
    print("\n".join(in_columns(rows, left=1)))


def variants_of(plan: BuildPlan) -> dict[str, dict[str, Any]]:
    """Return what each variant changes of the planned preprocessing; one that changes nothing is left out."""
    planned = plan.preprocessing
    variants: dict[str, dict[str, Any]] = {"planned": {}}
    if planned.window_hu not in (None, CT_WINDOW_HU):
        variants["fixed window"] = {"window_hu": CT_WINDOW_HU}
    if planned.field_of_view != "slice" or planned.field_mm is not None:
        variants["whole slice"] = {"field_of_view": "slice", "field_mm": None}
    return variants


def trained(
    plan: BuildPlan, change: dict[str, Any], data_set: DataSet, folder: Path, minutes: float, seed: int
) -> np.ndarray:
    """Train a variant and return the held-out Dice of each structure."""
    config = plan.run_config(data_set)
    config = config.model_copy(update={"preprocessing": config.preprocessing.model_copy(update=change)})
    train_planned(
        *(data_set, config.with_training(seed=seed), folder),
        split=plan.split_of(data_set),
        threads=1,
        seconds_limit=60 * minutes,
        listener=TrainingListener(),
    )
    evaluation, _ = score_model(folder, data_set.folder, threads=1, bars=False)
    return np.array([organ.mean for organ in evaluation.summaries["dice"].organs], float)


if __name__ == "__main__":
    main()
