"""`embedded-vit phantom`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def command(
    folder: Path,
    /,
    *,
    cases: int = 12,
    layout: Literal["transunet", "decathlon", "nnunet"] = "transunet",
    size: int = 256,
    slices: int = 48,
    seed: int = 0,
) -> None:
    """Generate labelled abdominal CT scans of patients who do not exist: eight organs, in HU.

    Args:
        folder: Where to write them; must be empty or not exist.
        cases: How many patients; the last quarter of them is there to test, but for the Decathlon's layout.
        layout: transunet, decathlon (Medical Segmentation Decathlon) or nnunet (v2 raw).
        size: Rows and columns of every slice.
        slices: Slices of every patient, over about 23 cm.
        seed: The same seed writes the same patients.
    """
    from rich.console import Console
    from rich.progress import Progress

    from embedded_vit.datasets.phantom import PhantomSettings
    from embedded_vit.datasets.phantom_writer import write_phantoms

    settings = PhantomSettings.parse({"size": size, "slices": slices}, source="the command line")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("phantoms", total=cases)
        write_phantoms(
            folder, cases, layout=layout, settings=settings, seed=seed, on_case=lambda: progress.advance(task)
        )
    print(f"{folder}: {cases} phantoms of {slices} x {size} x {size} voxels, layout {layout}")
