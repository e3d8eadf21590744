"""`embedded-vit evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def command(
    model: str,
    /,
    *,
    data: Path,
    output: Annotated[Path, Parameter(alias="-o")],
    split: Literal["test", "validation", "train", "all"] = "test",
    protocol: Literal["strict", "transunet"] = "strict",
    threads: int | None = None,
    engine: Literal["onnxruntime", "openvino", "litert"] = "onnxruntime",
) -> None:
    """Score a run or an artifact on labelled cases; writes cases.csv, metrics.json and report.html.

    Args:
        model: Run folder of `train`, artifact of `export`, or the name of a built-in model.
        data: Data set with the model's structures, in any known layout.
        output: Folder to write into; must not hold results.
        split: Which cases of the model's own split; "all" takes every case of the folder.
        protocol: strict measures in mm and gives nothing for what is not there; transunet is the published convention.
        threads: CPU threads; all cores by default.
        engine: What computes an artifact; a bf16 artifact is in bfloat16 only in openvino, on processors that have it.
    """
    from embedded_vit.builtin.resolve import model_path
    from embedded_vit.evaluation.evaluate import REPORT_FILE, evaluate
    from embedded_vit.evaluation.table import text_table

    evaluation = evaluate(
        model_path(model), data, output=output, subset=split, protocol=protocol, threads=threads, engine=engine
    )
    print(text_table(evaluation))
    print(f"report: {output / REPORT_FILE}")
