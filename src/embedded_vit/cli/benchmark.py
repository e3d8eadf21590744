"""`embedded-vit benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from embedded_vit.cli.options import EngineOption, Flag, Integers, OutputAlias
from embedded_vit.cli.showing import show, show_text


def command(
    model: str,
    model_b: str | None = None,
    /,
    *,
    threads: Integers | None = None,
    engine: EngineOption = "onnxruntime",
    data: Path | None = None,
    scope: Literal["network", "slice", "volume"] = "network",
    seconds: float = 60.0,
    output: Annotated[Path | None, OutputAlias] = None,
    overwrite: Flag = False,
) -> None:
    """Measure latency, cold start, memory, size, MACs and energy of one model, or compare two.

    Args:
        model: Model file made by `embedded-vit export`, or the name of a built-in model. With two models, the
            reference: best a float32 one.
        model_b: Second model. Both are measured in turns and compared pair by pair.
        threads: Numbers of cores to measure on, for example 1 2; all cores by default.
        data: Labelled data set. Dice is measured on its test cases, and latency on the first of them.
        scope: What one query is: the network alone, a slice from stored intensities to labels, or a whole scan.
        seconds: Time limit of a measurement, in seconds; it ends earlier after 1024 queries per model.
        output: JSON file to write the result to; a plot is written beside it.
        overwrite: Replace the files if they exist.
    """
    from rich.console import Console

    from embedded_vit.benchmark.result_file import check_output, save_result
    from embedded_vit.benchmark.result_table import result_text
    from embedded_vit.benchmark.run import benchmark
    from embedded_vit.builtin.resolve import model_path
    from embedded_vit.printable import bar_text

    if output is not None:
        check_output(output, overwrite=overwrite)
    with Console(stderr=True).status("reading the models") as status:
        result = benchmark(
            [model_path(each) for each in (model, model_b) if each is not None],
            threads=threads,
            engine=engine,
            data=data,
            scope=scope,
            seconds=seconds,
            on_stage=lambda stage: status.update(bar_text(stage)),
        )
    show_text(result_text(result))
    if output is not None:
        plot = save_result(result, output, overwrite=overwrite)
        show("")
        show(f"{output}" + (f", {plot}" if plot else "; no plot, as matplotlib is not installed"))
