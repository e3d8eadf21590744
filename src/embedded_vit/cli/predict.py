"""`embedded-vit predict`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.progress import Progress


def command(
    model: str,
    scan: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    threads: int | None = None,
    engine: Literal["onnxruntime", "openvino", "litert", "auto"] = "onnxruntime",
    memory: str | None = None,
    series: int | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Segment a scan, or a folder of scans, with an exported network. Research use only.

    Args:
        model: An .onnx file made by `embedded-vit export`, or the name of a built-in model.
        scan: A NIfTI file, a TransUNet .h5 file, the folder of a DICOM series, or a folder with scans at any depth.
        output: The mask to write (.nii.gz; a .json with the organs' volumes goes beside it), or a folder for masks.
        threads: Cores to compute on; all by default.
        engine: What computes; auto measures once for this network and this computer, and says which is fastest.
        memory: What the program may take, for example 400M or 1G. A scan that does not fit is
            segmented from a temporary file beside the output, slice by slice, with the same result. Half of the free
            memory by default.
        series: The number of the DICOM series, where a folder holds several that the network could segment.
        force: Segment scans outside what the network was made for; the .json says so.
    """
    from rich.console import Console
    from rich.progress import Progress

    from embedded_vit.predict.memory import limit_matrix_threads, parse_bytes, spare_address_space

    memory_bytes = None
    if memory is not None:
        memory_bytes = parse_bytes(memory)
        spare_address_space()
    limit_matrix_threads(1)  # threads work on a slice each
    # From here on numpy may be imported.

    from embedded_vit.builtin.resolve import model_path
    from embedded_vit.predict.folder import predict_path
    from embedded_vit.predict.predictor import Predictor

    artifact = model_path(model)
    if engine == "auto":
        from embedded_vit.engines.fastest import fastest_engine

        choice = fastest_engine(artifact, threads=1)  # for one slice; every thread has its own
        print(f"engine: {choice.engine} ({choice})", file=sys.stderr)
        engine = choice.engine
    predictor = Predictor.load(artifact, engine, threads=threads)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        masks = predict_path(
            predictor,
            scan,
            output,
            force=force,
            memory_bytes=memory_bytes,
            series=series,
            on_progress=lambda path: _slice_bar(progress, path.name),
            on_failure=lambda error: progress.console.out(f"embedded-vit: {error}", highlight=False),
        )
    for mask in masks:
        print(mask)


def _slice_bar(progress: Progress, name: str) -> Callable[[int, int], None]:
    """A bar for one scan, moved by the function returned."""
    bar = progress.add_task(name, total=None)
    return lambda done, total: progress.update(bar, completed=done, total=total)
