"""`embedded-vit compress`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from embedded_vit.cli.options import EngineOption, Flag, OutputAlias
from embedded_vit.cli.showing import show, tell
from embedded_vit.errors import ConfigError

if TYPE_CHECKING:
    from embedded_vit.compression.plan import CompressionPlan


def command(
    run: Path,
    /,
    *,
    plan: str | None = None,
    output: Annotated[Path, OutputAlias],
    data: Path | None = None,
    resume: Flag = False,
    device: str = "cpu",
    threads: int | None = None,
    engine: EngineOption = "onnxruntime",
    recipe: Annotated[str | None, Parameter(show=False)] = None,
) -> None:
    """Make a trained network smaller and faster by a compression plan; measure it after every step.

    Args:
        run: Run folder of a training; it is not changed.
        plan: Compression plan: the name of a built-in plan, for example embedded-cpu, or a YAML file with a gate and a
            list of steps. Required.
        output: Run folder to make, with model.onnx and compression.json in it.
        data: Labelled data set; by default the one of the training.
        resume: Resume an interrupted compression in --output.
        device: Device to train on: cpu, cuda, cuda:1, ...
        threads: CPU threads; all cores by default.
        recipe: Old name of --plan.
    """
    from embedded_vit.compression.compressing import compress
    from embedded_vit.compression.record import summary_line

    compress(
        run,
        _read_plan(plan, recipe),
        output,
        data_folder=data,
        resume=resume,
        device=device,
        threads=threads,
        engine=engine,
        on_stage=lambda stage: show(summary_line(stage)),
    )
    show(f"{output / 'model.onnx'}: done; compare runs with `embedded-vit report {output} --output report.html`")


def _read_plan(plan: str | None, recipe: str | None) -> CompressionPlan:
    """Read the plan of --plan, or of its old name --recipe; print what is deprecated on stderr."""
    from embedded_vit.compression.plan import built_in_plans, read_plan

    if recipe is not None:
        if plan is not None:
            raise ConfigError("--recipe is the old name of --plan: give --plan only")
        tell("embedded-vit: --recipe is deprecated; use --plan")
        plan = recipe
    if plan is None:
        names = ", ".join(built_in_plans())
        raise ConfigError(f"--plan is missing: expected the name of a built-in plan ({names}) or a YAML file")
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", FutureWarning)
        read = read_plan(plan)
    for note in notes:
        tell(f"embedded-vit: {note.message}")
    return read
