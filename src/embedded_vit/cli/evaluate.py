"""`embedded-vit evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from embedded_vit.cli.options import EngineOption, OutputAlias
from embedded_vit.cli.showing import show, show_text, tell


def command(
    model: str,
    /,
    *,
    data: Path,
    output: Annotated[Path, OutputAlias],
    split: Literal["test", "validation", "train", "all"] = "test",
    protocol: Literal["strict", "transunet"] = "strict",
    threads: int | None = None,
    engine: EngineOption = "onnxruntime",
) -> None:
    """Score a model on labelled cases: Dice, HD95 and NSD of every structure, with a report.

    A case that cannot be read or has no mask is named and left out; the exit status is then 2.

    Args:
        model: Run folder of `train`, model file of `export`, or the name of a built-in model.
        data: Labelled data set with the model's structures.
        output: Folder to write cases.csv, metrics.json and report.html to; it must not hold results.
        split: Cases to score: a part of the model's own split, or all cases of the data set.
        protocol: How masks are compared: strict measures distances in mm and leaves out a structure that is in neither
            mask; transunet is the published convention.
        threads: CPU threads; all cores by default.
    """
    from embedded_vit.builtin.resolve import model_path
    from embedded_vit.evaluation.evaluating import REPORT_FILE, evaluate
    from embedded_vit.evaluation.table import text_table

    evaluation = evaluate(
        model_path(model), data, output=output, subset=split, protocol=protocol, threads=threads, engine=engine
    )
    show_text(text_table(evaluation))
    show(f"report: {output / REPORT_FILE}")
    if evaluation.unscored:
        scored = f"{len(evaluation.cases)} of {len(evaluation.cases) + len(evaluation.unscored)} cases scored"
        tell(f"embedded-vit: {scored}; without {', '.join(evaluation.unscored)}")
        sys.exit(2)
