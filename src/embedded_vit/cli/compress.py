"""`embedded-vit compress`."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated

from embedded_vit.cli.options import EngineOption, Flag, OutputAlias


def command(
    run: Path,
    /,
    *,
    recipe: Path,
    output: Annotated[Path, OutputAlias],
    data: Path | None = None,
    resume: Flag = False,
    device: str = "cpu",
    threads: int | None = None,
    engine: EngineOption = "onnxruntime",
) -> None:
    """Make a trained network smaller and faster by a compression plan; measure it after every step.

    Args:
        run: Run folder of a training; it is not changed.
        recipe: Compression plan: the name of a built-in one, for example embedded-cpu, or a YAML file with a gate and a
            list of steps.
        output: Run folder to make, with model.onnx and compression.json in it.
        data: Labelled data set; by default the one of the training.
        resume: Resume an interrupted compression in --output.
        device: Device to train on: cpu, cuda, cuda:1, ...
        threads: CPU threads; all cores by default.
    """
    from embedded_vit.compression.compress import compress
    from embedded_vit.compression.plan import read_plan
    from embedded_vit.compression.record import summary_line

    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", FutureWarning)
        plan = read_plan(recipe)
    for note in notes:
        print(f"embedded-vit: {note.message}", file=sys.stderr)
    compress(
        run,
        plan,
        output,
        data_folder=data,
        resume=resume,
        device=device,
        threads=threads,
        engine=engine,
        on_stage=lambda stage: print(summary_line(stage), flush=True),
    )
    print(f"{output / 'model.onnx'}: done; compare runs with `embedded-vit report {output} --output report.html`")
