"""`embedded-vit predict`."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from embedded_vit.cli.options import EngineOption, Flag, OutputAlias
from embedded_vit.cli.showing import show, tell
from embedded_vit.clinic import ResultFormat

if TYPE_CHECKING:
    from embedded_vit.engines import EngineChoice
    from embedded_vit.predict.bulk import Crew

RayAddress = Annotated[list[str] | None, Parameter(consume_multiple=True, negative="", show_default=False)]


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
    probabilities: Flag = False,
    workers: int | None = None,
    ray: RayAddress = None,
    progress: Literal["bar", "json"] = "bar",
) -> None:
    """Segment a scan, or all scans of a folder, with a model file or a built-in model.

    Args:
        model: Model file made by `embedded-vit export`, or the name of a built-in model.
        scan: NIfTI file, folder of a DICOM series, TransUNet .h5 file, or folder with scans at any depth. For a model
            of several channels, the files of one scan: their names tell which is which.
        output: Mask to write (.nii.gz), with a .json of the structures' volumes and a preview (.png) beside it; or a
            folder, for files named after their scans, and for a folder of scans volumes.csv.
        threads: Cores to compute on; all cores by default.
        memory: Most memory to use, for example 400M or 1G; half of the free memory by default. A scan that does not
            fit is segmented slice by slice from a temporary file beside the output, with the same result.
        series: Number of the DICOM series to segment, where a folder holds several that fit the model.
        force: Segment a scan that the model was not made for; the .json records it.
        result_format: What to write of a DICOM series: nifti, the mask; dicom-seg, a DICOM segmentation (.dcm); sc, a
            secondary capture, one page with pictures and volumes (.dcm); or all three.
        labelmap: Write segmentations of DICOM's newer type LABELMAP, which few programs read, in place of BINARY.
        probabilities: Also write the probabilities of all structures, MASK_probabilities.nii.gz, with four axes.
        workers: Processes that share the scans of a folder; --threads and --memory are then those of each. What is done
            is listed in predictions.sqlite beside the masks.
        ray: Share the scans of a folder among the machines of a Ray cluster (extra ray): --ray ADDRESS, for example
            auto or 10.0.0.1:6379; without an address Ray is started on this machine. All machines must see the scans
            and the output under the same paths. Write it behind the scans.
        progress: How progress is shown on standard error: as a bar, or as a JSON object a line for other programs.
    """
    memory_bytes = _prepare_process(memory)
    # From here on NumPy may be imported.

    from embedded_vit.builtin.resolve import model_path
    from embedded_vit.clinic import results_for
    from embedded_vit.errors import InputError

    if not scan:
        raise InputError("no scan is given: embedded-vit predict MODEL SCAN -o MASK")
    options: dict[str, Any] = {"force": force, "memory_bytes": memory_bytes, "series": series}
    options["results"] = results_for(result_format, labelmap=labelmap, probabilities=probabilities)
    artifact = model_path(model)
    engine = _chosen(engine, artifact)
    if workers is None and ray is None:
        written = _here(artifact, scan, output, engine, threads, progress, options)
    else:
        written = _in_bulk(artifact, scan, output, engine, _crew(workers, threads, ray), progress, options)
    for path in written:
        show(path)


def _chosen(engine: EngineChoice, artifact: Path) -> EngineChoice:
    """Return the engine to use; say which one is the fastest."""
    if engine != "auto":
        return engine
    from embedded_vit.engines import fastest_engine

    choice = fastest_engine(artifact, threads=1)  # for one slice; every thread has its own
    tell(f"engine: {choice.engine} ({choice})")
    return choice.engine


def _here(
    artifact: Path,
    scan: Sequence[Path],
    output: Path,
    engine: EngineChoice,
    threads: int | None,
    progress: str,
    options: dict[str, Any],
) -> list[Path]:
    """Segment in this process."""
    from embedded_vit.cli.progress import shown
    from embedded_vit.predict.folder import predict_path
    from embedded_vit.predict.predictor import Predictor

    predictor = Predictor.load(artifact, engine, threads=threads)
    with shown(progress, slices=True) as listener:
        return predict_path(predictor, scan, output, listener=listener, **options)


def _import_nibabel_alone() -> None:
    """Import nibabel as where pydicom is not installed.

    Else it imports pydicom too, which takes a twentieth of a short prediction, for extensions of NIfTI files that no
    verb reads. A DICOM series imports pydicom later.
    """
    if "nibabel" in sys.modules or "pydicom" in sys.modules:
        return
    sys.modules["pydicom"] = None  # type: ignore[assignment]  # Python's way to say that there is no such module
    try:
        import nibabel  # noqa: F401
    finally:
        del sys.modules["pydicom"]


def _in_bulk(
    artifact: Path,
    scan: Sequence[Path],
    output: Path,
    engine: EngineChoice,
    crew: Crew,
    progress: str,
    options: dict[str, Any],
) -> list[Path]:
    """Segment a folder with workers."""
    from embedded_vit.cli.progress import shown
    from embedded_vit.errors import InputError
    from embedded_vit.predict.bulk import predict_in_bulk

    if len(scan) > 1:
        raise InputError(f"{scan[1]}: workers share the scans of one folder; give one folder")
    with shown(progress, slices=False) as listener:
        return predict_in_bulk(artifact, scan[0], output, crew=crew, engine=engine, listener=listener, **options)


def _crew(workers: int | None, threads: int | None, ray: Sequence[str] | None) -> Crew:
    """Make the crew that the options ask for."""
    from embedded_vit.errors import ConfigError
    from embedded_vit.predict.bulk import Crew

    if ray is not None and len(ray) > 1:
        raise ConfigError(f"--ray {' '.join(ray)}: expected one address; write --ray after the scans")
    return Crew(workers, threads, on_ray=ray is not None, ray_address=ray[0] if ray else None)


def _prepare_process(memory: str | None) -> int | None:
    """Limit memory and threads before NumPy is imported, and import what segments; return --memory in bytes.

    Meanwhile no garbage is collected: modules stay, and searching them again and again takes 35 ms.
    """
    from embedded_vit.predict.memory import limit_matrix_threads, parse_bytes, spare_address_space

    memory_bytes = None
    if memory is not None:
        memory_bytes = parse_bytes(memory)
        spare_address_space()
    limit_matrix_threads(1)  # each thread works on a slice of its own
    gc.disable()
    try:
        _import_nibabel_alone()
        import embedded_vit.builtin.resolve
        import embedded_vit.predict.folder  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()
    return memory_bytes
