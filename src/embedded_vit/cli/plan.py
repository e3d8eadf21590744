"""`embedded-vit plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from embedded_vit.cli.options import Flag, Names, OutputAlias
from embedded_vit.cli.showing import progress_bars, show, show_text


def command(
    *,
    data: Path,
    output: Annotated[Path, OutputAlias] = Path("build-plan.yaml"),
    budget: str | None = None,
    minutes: float = 60.0,
    patient: str | None = None,
    structures: Names | None = None,
    plane: Literal["axial", "coronal", "sagittal", "measured"] | None = None,
    seed: int = 0,
    device: str = "cpu",
    overwrite: Flag = False,
) -> None:
    """Look at a labelled data set, say what it is and what `build` will do with it, and write the plan.

    Every case that trains is read once. A dozen training steps are timed. Nothing is trained, but for --plane measured.

    Args:
        data: Labelled data set in any layout that `embedded-vit data` takes.
        output: The plan to write, a YAML file in which every decision may be changed.
        budget: The most that a slice may take on this computer, for example latency_ms=5.
        minutes: Time for the whole build on this computer.
        patient: Pattern of the names of cases: what it matches is the patient, for example 'patient\\d+'. Cases of a
            patient stay together. By default as patients.csv in the data set says, else as noticed in the names.
        structures: Structures to learn, by their names; the others become background. All by default.
        plane: How scans are cut: axial, coronal, sagittal; or measured: a network is trained in each plane for a tenth
            of the minutes, and another plane than the spacing says has to gain two points of Dice.
        seed: Seed of the split, the initial weights and the augmentation.
        device: Device to train on: cpu, cuda, cuda:1, ...
        overwrite: Replace a plan that is there already.
    """
    from embedded_vit.datasets import open_data_set
    from embedded_vit.planning.build_plan import PLAN_FILE, read_budget
    from embedded_vit.planning.planning import plan_for
    from embedded_vit.planning.summary import plan_text
    from embedded_vit.printable import bar_text

    data_set = open_data_set(data, patient=patient, structures=structures)
    for remark in data_set.remarks:
        show(remark)
    with progress_bars() as progress:
        task = progress.add_task("", total=None)
        plan = plan_for(
            data_set,
            latency_ms=None if budget is None else read_budget(budget),
            minutes=minutes,
            patient=patient,
            structures=structures,
            plane=plane,
            seed=seed,
            device=device,
            on_case=lambda name: progress.update(task, advance=1, description=bar_text(f"reading {name}")),
            on_trial=lambda tried: progress.update(task, description=f"training in {tried} slices"),
        )
    plan.write(output, overwrite=overwrite)
    show_text(plan_text(plan, data_set))
    show(f"{output}: change what you like; `embedded-vit build --data {data} --output OUT` reads OUT/{PLAN_FILE}")
