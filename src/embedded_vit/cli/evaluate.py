"""`embedded-vit evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from embedded_vit.cli.options import EngineOption, Names, OutputAlias
from embedded_vit.cli.showing import show, show_text, tell
from embedded_vit.counted import counted


def command(
    model: str | None = None,
    /,
    *,
    data: Path,
    output: Annotated[Path, OutputAlias],
    predictions: Path | None = None,
    structures: Names | None = None,
    patient: str | None = None,
    split: Literal["test", "validation", "train", "all"] = "test",
    protocol: Literal["strict", "transunet"] = "strict",
    threads: int | None = None,
    engine: EngineOption = "onnxruntime",
) -> None:
    """Score a model, or the masks of any program, on labelled cases: Dice, HD95 and NSD, with a report.

    A case that cannot be read or has no mask is named and left out; the exit status is then 2.

    Args:
        model: Run folder of `train`, model file of `export`, or the name of a built-in model.
        data: Labelled data set with the model's structures.
        output: Folder to write cases.csv, metrics.json and report.html to; it must not hold results.
        predictions: In place of a model: folder with one mask per case, CASE.nii.gz, written by any program.
        structures: With --predictions: structures to score, by their names; all by default.
        patient: Pattern of the names of cases; what it matches is the patient, for example 'patient\\d+'. Intervals are
            over patients, each with all their cases.
        split: Cases to score: a part of the model's own split, or all cases of the data set.
        protocol: How masks are compared: strict measures distances in mm and leaves out a structure that is in neither
            mask; transunet is the published convention.
        threads: CPU threads; all cores by default.
    """
    from embedded_vit.builtin.resolve import model_path
    from embedded_vit.errors import ConfigError
    from embedded_vit.evaluation.evaluating import REPORT_FILE, evaluate
    from embedded_vit.evaluation.predictions import score_predictions
    from embedded_vit.evaluation.table import text_table

    if (model is None) == (predictions is None):
        raise ConfigError("give either a model or --predictions FOLDER with masks")
    if predictions is not None:
        if split != "test":
            raise ConfigError(f"--split {split}: belongs to a model; with --predictions every mask is scored")
        evaluation = score_predictions(
            predictions, data, output=output, structures=structures, patient=patient, protocol=protocol, threads=threads
        )
    else:
        if structures is not None:
            raise ConfigError("--structures: belongs to --predictions; a model is scored on its own structures")
        options: dict[str, Any] = {"patient": patient, "protocol": protocol, "threads": threads, "engine": engine}
        evaluation = evaluate(model_path(str(model)), data, output=output, subset=split, **options)
    show_text(text_table(evaluation))
    show(f"report: {output / REPORT_FILE}")
    if evaluation.unscored:
        scored = (
            f"{len(evaluation.cases)} of {counted(len(evaluation.cases) + len(evaluation.unscored), 'case')} scored"
        )
        tell(f"embedded-vit: {scored}; without {', '.join(evaluation.unscored)}")
        sys.exit(2)
