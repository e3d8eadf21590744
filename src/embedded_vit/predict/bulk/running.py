"""A folder of scans, segmented by one worker or by many."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from embedded_vit.artifact.manifest import read_artifact
from embedded_vit.counted import counted
from embedded_vit.engines import EngineChoice
from embedded_vit.errors import ConfigError, InputError, OutputError
from embedded_vit.io.atomic import check_folder
from embedded_vit.io.channels import FoundScan
from embedded_vit.io.file_lock import file_lock
from embedded_vit.io.mask_file import is_mask_name, mask_name, sweep_masks
from embedded_vit.io.scan_folder import find_scans
from embedded_vit.io.scan_source import EXPECTED
from embedded_vit.predict.bulk.case import Case
from embedded_vit.predict.bulk.case_queue import MANIFEST, CaseQueue
from embedded_vit.predict.bulk.driver import Driver
from embedded_vit.predict.bulk.worker import WorkerSetup
from embedded_vit.predict.bulk.workers import InThisProcess, Workers
from embedded_vit.predict.listener import Listener
from embedded_vit.predict.one_scan import ScanWriter
from embedded_vit.predict.results import Results
from embedded_vit.predict.volumes_table import check_table, write_table
from embedded_vit.provenance import available_cores

__all__ = ["Crew", "cases_of", "predict_here", "predict_in_bulk", "run_cases", "scans_in"]

LOCK = ".predictions.lock"


@dataclass(frozen=True)
class Crew:
    """Who segments the cases.

    Attributes:
        workers: How many; by default 1 on this machine, and on a cluster as many as it has cores for.
        threads: Cores of each; by default the cores of this machine are shared out, and on a cluster each has one.
        on_ray: Whether they are on a Ray cluster.
        ray_address: Of the cluster; None starts Ray on this machine.
    """

    workers: int | None = None
    threads: int | None = None
    on_ray: bool = False
    ray_address: str | None = None

    @property
    def neighbours(self) -> int:
        """How many workers share this machine and its memory."""
        return 1 if self.on_ray else self.workers or 1

    @property
    def threads_each(self) -> int:
        """The cores of each worker."""
        return self.threads or (1 if self.on_ray else max(1, available_cores() // self.neighbours))


def predict_in_bulk(
    model: Path,
    folder: Path,
    output: Path,
    *,
    crew: Crew,
    engine: EngineChoice = "onnxruntime",
    force: bool = False,
    memory_bytes: int | None = None,
    series: int | None = None,
    results: Results | None = None,
    listener: Listener | None = None,
) -> list[Path]:
    """Segment every scan of a folder with several workers, and keep a list of what is done beside the masks.

    The same call again goes on where one was stopped, however it was. A scan that ends its worker is tried three times
    and then passed over.

    Args:
        model: The model file.
        folder: Holds scans at any depth.
        output: The folder of the masks; only one run at a time writes there.
        crew: Who segments.
        engine: As `Predictor.load`.
        force, memory_bytes, series, results, listener: As `predict_path`; the memory is that of each worker.

    Returns:
        The masks of all scans that are there afterwards, and the other results.

    Raises:
        InputError: The folder holds no scan, or some scans of it failed.
        ConfigError: The number of workers is below 1, or there is no Ray.
        OutputError: Another run writes into `output`, or it cannot be written.
    """
    listener, results = listener or Listener(), results or Results()
    _check(crew, folder, output)
    content, manifest = read_artifact(model)
    scans = scans_in(folder, manifest.preprocessing.channels, output, listener)
    check_folder(output)
    output.mkdir(parents=True, exist_ok=True)
    with file_lock(output / LOCK) as held:
        if not held:
            raise OutputError(f"{output}: another run writes there, or the disk has no locks; choose another folder")
        digest = hashlib.sha256(content).hexdigest()
        with closing(CaseQueue(output, output / MANIFEST, digest)) as queue:
            setup = WorkerSetup(
                model=content if crew.on_ray else model,
                model_sha256=digest,
                engine=engine,
                threads=crew.threads_each,
                force=force,
                memory_bytes=memory_bytes,
                series=series,
                results=results,
                neighbours=crew.neighbours,
            )
            cases = cases_of(scans, folder, output, results)
            return run_cases(folder, output, cases, queue, _workers(crew, setup), listener, results)


def predict_here(writer: ScanWriter, scans: Sequence[FoundScan], folder: Path, output: Path) -> list[Path]:
    """Segment the scans of a folder in this process; arguments, result and errors as `predict_path`."""
    cases = cases_of(scans, folder, output, writer.results)
    with closing(CaseQueue(output, None, writer.predictor.model_sha256)) as queue:
        return run_cases(folder, output, cases, queue, InThisProcess(writer), writer.listener, writer.results)


def _check(crew: Crew, folder: Path, output: Path) -> None:
    """Refuse what workers cannot share, before anything is written."""
    if crew.workers is not None and crew.workers < 1:
        raise ConfigError(f"{crew.workers} workers: expected at least 1")
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; workers share the scans of a folder")
    if is_mask_name(output) or (output.exists() and not output.is_dir()):
        raise OutputError(f"{output}: workers write into a folder; give the name of a folder")


def _workers(crew: Crew, setup: WorkerSetup) -> Workers:
    if not crew.on_ray:
        from embedded_vit.predict.bulk.local_processes import LocalProcesses

        return LocalProcesses(setup, crew.workers or 1)
    from embedded_vit.predict.bulk.on_ray import OnRay

    return OnRay(setup, crew.ray_address, crew.workers)


def scans_in(folder: Path, channels: Sequence[str], output: Path, listener: Listener) -> list[FoundScan]:
    """Find the scans of a folder; tell what is left out.

    Raises:
        InputError: There is none.
    """
    scans, left_out = find_scans(folder, channels=channels, leave_out=output)
    for what in left_out:
        listener.on_remark(f"left out: {what}")
    if not scans:
        raise InputError(f"{folder}: no scan in this folder, nor in any folder below; expected {EXPECTED}")
    return scans


def cases_of(scans: Sequence[FoundScan], folder: Path, output: Path, results: Results) -> list[Case]:
    """Say where the results of each scan go: into the place that the scan has in its folder."""
    cases = []
    for number, scan in enumerate(scans):
        relative = scan.place.relative_to(folder).parent if scan.place != folder else Path()
        cases.append(Case(number, scan, results.name(output / relative / mask_name(scan.name, scan.files[0]))))
    return cases


def run_cases(
    folder: Path,
    output: Path,
    cases: Sequence[Case],
    queue: CaseQueue,
    workers: Workers,
    listener: Listener,
    results: Results,
) -> list[Path]:
    """Segment cases; return the results of all that are there afterwards.

    Raises:
        InputError: Some failed.
        OutputError: The folder holds a `volumes.csv` of another program.
    """

    def is_whole(case: Case) -> bool:
        return all(path.exists() for path in results.files(case.output))

    check_table(output)
    sweep_masks(output)  # also where all cases are done: a run that was killed at its end left a table
    try:
        with closing(workers):
            for error in queue.add(cases, is_whole):
                listener.on_failure(error)
            Driver(queue, workers, listener).run()
    finally:  # also where a person stops it
        write_table(output)
    there = len(queue.there)
    if there:
        listener.on_remark(f"{output}: {counted(there, 'was', 'were')} there already")
    whole = [case for case in cases if case.number in queue.there | queue.done]
    if queue.failed:
        raise InputError(
            f"{folder}: {len(queue.failed)} of {counted(len(cases), 'scan')} failed; "
            f"{counted(len(whole), 'mask is', 'masks are')} in {output}"
        )
    return [path for case in whole for path in results.files(case.output)]
