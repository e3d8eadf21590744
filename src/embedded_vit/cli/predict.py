"""`embedded-vit predict`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from embedded_vit.cli.options import EngineOption, Flag, OutputAlias
from embedded_vit.cli.showing import show, tell
from embedded_vit.clinic import ResultFormat

if TYPE_CHECKING:
    from rich.progress import Progress

    from embedded_vit.predict.predictor import Predictor


def command(
    model: str,
    /,
    *scan: Path,
    output: Annotated[Path, OutputAlias],
    threads: int | None = None,
    engine: EngineOption = "onnxruntime",
    memory: str | None = None,
    series: int | None = None,
    force: Flag = False,
    result_format: Annotated[ResultFormat, Parameter(name="--format")] = "nifti",
    labelmap: Flag = False,
) -> None:
    """Segment a scan, or all scans of a folder, with a model file or a built-in model.

    Args:
        model: Model file made by `embedded-vit export`, or the name of a built-in model.
        scan: NIfTI file, folder of a DICOM series, TransUNet .h5 file, or folder with scans at any depth. For a model
            of several channels, the files of one scan: their names tell which is which.
        output: Mask to write (.nii.gz), with a .json of the structures' volumes beside it; for a folder of scans, the
            folder of the masks.
        threads: Cores to compute on; all cores by default.
        memory: Most memory to use, for example 400M or 1G; half of the free memory by default. A scan that does not
            fit is segmented slice by slice from a temporary file beside the output, with the same result.
        series: Number of the DICOM series to segment, where a folder holds several that fit the model.
        force: Segment a scan that the model was not made for; the .json records it.
        result_format: What to write of a DICOM series: nifti, the mask; dicom-seg, a DICOM segmentation (.dcm); sc, a
            secondary capture, one page with pictures and volumes (.dcm); or all three.
        labelmap: Write segmentations of DICOM's newer type LABELMAP, which few programs read, in place of BINARY.
    """
    memory_bytes = _limit_memory_and_threads(memory)
    # From here on NumPy may be imported.

    from embedded_vit.builtin.resolve import model_path
    from embedded_vit.clinic import results_for
    from embedded_vit.errors import InputError
    from embedded_vit.predict.predictor import Predictor

    if not scan:
        raise InputError("no scan is given: embedded-vit predict MODEL SCAN -o MASK")
    results = results_for(result_format, labelmap=labelmap)
    artifact = model_path(model)
    if engine == "auto":
        from embedded_vit.engines import fastest_engine

        choice = fastest_engine(artifact, threads=1)  # for one slice; every thread has its own
        tell(f"engine: {choice.engine} ({choice})")
        engine = choice.engine
    predictor = Predictor.load(artifact, engine, threads=threads)
    options = {"force": force, "memory_bytes": memory_bytes, "series": series, "results": results}
    for path in _predict(predictor, scan, output, **options):
        show(path)


def _predict(predictor: Predictor, scans: Sequence[Path], output: Path, **options: Any) -> list[Path]:
    """Segment with a progress bar, and print remarks above it; return the files."""
    from rich.console import Console
    from rich.progress import Progress

    from embedded_vit.predict.folder import Listener, predict_path
    from embedded_vit.printable import printable

    with Progress(console=Console(stderr=True), transient=True) as progress:

        def say(sentence: object) -> None:
            progress.console.out(f"embedded-vit: {printable(sentence)}", highlight=False)

        listener = Listener(lambda path: _slice_bar(progress, path.name), on_failure=say, on_remark=say)
        return predict_path(predictor, scans, output, listener=listener, **options)


def _limit_memory_and_threads(memory: str | None) -> int | None:
    """Prepare the process before NumPy is imported; return --memory in bytes."""
    from embedded_vit.predict.memory import limit_matrix_threads, parse_bytes, spare_address_space

    memory_bytes = None
    if memory is not None:
        memory_bytes = parse_bytes(memory)
        spare_address_space()
    limit_matrix_threads(1)  # each thread works on a slice of its own
    return memory_bytes


def _slice_bar(progress: Progress, name: str) -> Callable[[int, int], None]:
    """Add a progress bar for one scan; return the function that moves it."""
    from embedded_vit.printable import bar_text

    bar = progress.add_task(bar_text(name), total=None)
    return lambda done, total: progress.update(bar, completed=done, total=total)
