"""The process that segments for a node: `python -m embedded_vit.node.segmenting`, one JSON object a line.

    asked     {"images": folder, "results": folder, "model": file, "kinds": "dicom-seg"}
    answered  {"results": 2, "refused": ["..."]}   or   {"error": "...", "passes": false}

Without images it loads the model, before there is a study. An error that passes is not one of the study: the disk is
full.

A damaged image can end this process, and only it. It ends too when the node does.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedded_vit.fresh_python import serve_pipes

if TYPE_CHECKING:
    from embedded_vit.predict.predictor import Predictor
    from embedded_vit.predict.results import Result

__all__ = ["main"]

PARENT_DEATH_SIGNAL, SIGKILL = 1, 9  # of prctl(2)


def main() -> None:
    """Answer requests until there are no more."""
    threads, memory_bytes = (int(word) if word != "-" else None for word in sys.argv[1:3])
    requests, answers = serve_pipes()
    _end_with_parent()
    _prepare(memory_bytes)
    predictors: dict[str, Predictor] = {}
    for line in requests:
        asked = json.loads(line)
        model = str(asked["model"])
        try:
            if model not in predictors:
                from embedded_vit.predict.predictor import Predictor

                predictors.clear()
                predictors[model] = Predictor.load(model, threads=threads)
            answer = _segment_study(predictors[model], asked, memory_bytes)
        except Exception as error:  # the libraries raise whatever an odd header leads to; the node tries again
            answer = {"error": _reason(error), "passes": _passes(error)}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _prepare(memory_bytes: int | None) -> None:
    """Limit memory before NumPy is imported, and keep other libraries quiet."""
    import logging
    import warnings

    from embedded_vit.predict.memory import limit_matrix_threads, spare_address_space

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    limit_matrix_threads(1)
    if memory_bytes is not None:
        spare_address_space()


def _end_with_parent() -> None:
    """Have the system end this process when the node ends, however that is."""
    if sys.platform == "linux":
        import ctypes

        parent = os.getppid()
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)


def _segment_study(predictor: Predictor, asked: dict[str, Any], memory_bytes: int | None) -> dict[str, object]:
    """Segment every series of a study; the results take their place together."""
    import shutil

    from embedded_vit.clinic import results_for
    from embedded_vit.errors import ContractError, InputError
    from embedded_vit.io.atomic import flush

    if asked["images"] is None:
        return {}
    images, results = Path(asked["images"]), Path(asked["results"])
    kinds = results_for(asked["kinds"]).others
    unfinished = results.with_name(f"{results.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    refused = []
    for series in sorted(images.iterdir()):
        try:
            _segment_series(predictor, series, unfinished, kinds, memory_bytes)
        except (ContractError, InputError) as error:
            if _passes(error):
                raise  # otherwise no result can be made of this series
            for left in unfinished.glob(f"{series.name}*"):
                left.unlink()
            refused.append(str(error).replace(f"{series}{os.sep}", "").replace(str(series), "series"))
    written = len(list(unfinished.iterdir()))
    flush(unfinished)
    if results.exists():  # of a try that the node did not see the end of
        shutil.rmtree(results)
    unfinished.rename(results)
    flush(results.parent)
    return {"results": written, "refused": refused}


def _segment_series(predictor: Predictor, series: Path, folder: Path, kinds: Any, memory_bytes: int | None) -> None:
    """Segment one series and write its results, as `predict --format` does."""
    results: list[Result] = list(kinds)

    def check(source: Any) -> None:
        for result in results:
            result.check(source)

    prediction = predictor.predict(
        series, memory_bytes=memory_bytes, spool_folder=folder.parent, on_open=check, keep_scan=True
    )
    for result in results:
        result.write(folder / f"{series.name}{result.ending}", prediction, predictor.contract)


def _passes(error: Exception) -> bool:
    """Whether the disk did not take something, which may pass."""
    from embedded_vit.errors import OutputError

    cause = error.__cause__ if isinstance(error, OutputError) else error
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def _reason(error: Exception) -> str:
    from embedded_vit.errors import EmbeddedVitError
    from embedded_vit.node.audit import kind_and_place

    return str(error) if isinstance(error, EmbeddedVitError) else kind_and_place(error)


if __name__ == "__main__":
    main()
