"""`embedded-vit benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def command(
    model: str,
    model_b: str | None = None,
    /,
    *,
    threads: Annotated[list[int] | None, Parameter(consume_multiple=True, negative="")] = None,
    engine: Literal["onnxruntime", "openvino", "litert", "auto"] = "onnxruntime",
    data: Path | None = None,
    scope: Literal["network", "slice", "volume"] = "network",
    seconds: float = 60.0,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Measure latency, cold start, memory, size, operations and energy of one model, or of two in turns.

    Args:
        model: An .onnx file made by `embedded-vit export`, or the name of a built-in model; with two models the
            reference, best a float32 one.
        model_b: Another one, measured in turns with the first and compared pair by pair.
        threads: Numbers of cores to compute on, for example 1 2; all cores by default.
        engine: What computes; auto takes the fastest for each model.
        data: Labelled data set: its test cases tell the models' Dice, the first of them is the scan to measure on.
        scope: One query is the network alone, a slice from stored intensities to labels, or a whole scan.
        seconds: A measurement ends with 1024 queries a model, or after this time.
        output: The .json file to write; a plot goes beside it.
        overwrite: Replace the files if they exist.
    """
    from rich.console import Console

    from embedded_vit.benchmark.result_file import check_output, save_result
    from embedded_vit.benchmark.result_table import result_text
    from embedded_vit.benchmark.run import benchmark
    from embedded_vit.builtin.resolve import model_path

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
            on_stage=status.update,
        )
    print(result_text(result))
    if output is not None:
        plot = save_result(result, output, overwrite=overwrite)
        print(f"\n{output}" + (f", {plot}" if plot else "; no plot, as matplotlib is not installed"))
