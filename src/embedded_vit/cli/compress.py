"""`embedded-vit compress`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def command(
    run: Path,
    /,
    *,
    recipe: Path,
    output: Annotated[Path, Parameter(alias="-o")],
    data: Path | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    device: str = "cpu",
    threads: int | None = None,
) -> None:
    """Make a trained network smaller and faster by a recipe, and measure what is left after every step.

    Args:
        run: Run folder of a training; it is not changed.
        recipe: YAML file: a gate and an ordered list of steps, such as those in recipes/.
        output: Run folder to make, with model.onnx and compression.json in it.
        data: Data set; the one of the training by default.
        resume: Go on with a compression that was killed.
        device: Where to train: cpu, cuda, cuda:1, ...
        threads: CPU threads.
    """
    from embedded_vit.compression.compress import compress
    from embedded_vit.compression.plan import read_recipe
    from embedded_vit.compression.record import summary_line

    compress(
        run,
        read_recipe(recipe),
        output,
        data_folder=data,
        resume=resume,
        device=device,
        threads=threads,
        on_stage=lambda stage: print(summary_line(stage), flush=True),
    )
    print(f"{output / 'model.onnx'}: done; compare runs with `embedded-vit report {output} --output report.html`")
