"""`embedded-vit phantom`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from embedded_vit.cli.showing import progress_bars, show
from embedded_vit.counted import counted


def command(
    folder: Path,
    /,
    *,
    cases: int = 12,
    layout: Literal["transunet", "decathlon", "nnunet"] = "transunet",
    anatomy: Literal["abdomen", "chest", "head", "knee", "spine", "vessels"] = "abdomen",
    size: int = 256,
    slices: int | None = None,
    seed: int = 0,
) -> None:
    """Generate a labelled data set of generated patients: CT of a body part, or MR of the spine.

    Args:
        folder: Folder to write the data set to; it must be empty or not exist.
        cases: Number of patients. The last quarter are test cases, except in the Decathlon's layout, which has none.
        layout: Layout of the folder: transunet, decathlon (Medical Segmentation Decathlon) or nnunet (nnU-Net v2 raw).
        anatomy: Body part: abdomen (eight organs), chest (lungs, airways), head (brain, ventricles), knee (bones),
            spine (vertebrae and discs on sagittal MR) or vessels (a limb's, with contrast agent).
        size: Rows and columns of every slice, in pixels.
        slices: Slices of every scan, over the whole body part; 48 by default, and 15 of the spine.
        seed: Seed of the patients; the same seed gives the same patients.
    """
    from embedded_vit.datasets.phantom import PhantomSettings
    from embedded_vit.datasets.phantom_writer import write_phantoms

    settings = PhantomSettings.parse({"size": size, "slices": slices, "anatomy": anatomy}, source="the command line")
    with progress_bars() as progress:
        task = progress.add_task("phantoms", total=cases)
        write_phantoms(
            folder, cases, layout=layout, settings=settings, seed=seed, on_case=lambda: progress.advance(task)
        )
    show(
        f"{folder}: {counted(cases, 'phantom')} ({anatomy}) of {settings.slice_count} x {size} x {size} voxels, "
        f"layout {layout}"
    )
