"""Trains everything that the built-in models need on one GPU, many networks at once, each step one CUDA graph.

    python benchmarks/gpu_trainings.py NAME [NAME ...] --data DATA --output FOLDER [--experiments split all ...]

The run folders lie where `benchmarks/builtin_models.py` with the same FOLDER finds them: it exports, tests and
installs what was trained here. A training begins as soon as what it goes on from and what teaches it is there; the
first of each kind goes ahead, so that the others find its kernels compiled. What is done is left alone. Processes
share a GPU best under CUDA's multi-process service (`nvidia-cuda-mps-control -d`).
"""

from __future__ import annotations

import argparse
import multiprocessing
import queue
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkProcess
from pathlib import Path

import torch
from builtin_models import MODELS, TRAININGS, Workplace, asked_of, experiments_of, trainings_for
from experiments import is_done, taught_config
from graph_trainer import GraphTrainer, Lesson

from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import DataSet, Split
from embedded_vit.errors import EmbeddedVitError
from embedded_vit.models.registry import build_network
from embedded_vit.postprocessing import find_postprocessing
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.provenance import describe_machine, versions
from embedded_vit.training.checkpoint import STATE, TrainingRecord, describe_run, initialise, load_checkpoint
from embedded_vit.training.slices import SliceSet, prepare_slices
from embedded_vit.training.training import plan

__all__ = ["Job", "jobs_for", "run_all", "train_one"]


@dataclass(frozen=True)
class Job:
    """One training of one experiment.

    Attributes:
        training: Its name in the table.
        experiment: Names the run folder.
        split: Who trains and who tests, and the seed.
        workplace: Where data and run folders lie.
    """

    training: str
    experiment: str
    split: Split
    workplace: Workplace

    @property
    def run(self) -> Path:
        """The run folder to make."""
        return self.workplace.run(self.experiment, self.training)

    @property
    def needs(self) -> set[Path]:
        """The run folders that must be there before."""
        entry = TRAININGS[self.training]
        return {self.workplace.run(self.experiment, name) for name in (entry.goes_on_from, entry.taught_by) if name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=MODELS, metavar="NAME", help=", ".join(MODELS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="as of builtin_models.py")
    parser.add_argument("--experiments", nargs="+", metavar="EXPERIMENT", help="by default every one")
    parser.add_argument("--processes", type=int, default=9, help="trainings at once")
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    workplaces = [Workplace(name, arguments.data, arguments.output, arguments.device) for name in arguments.names]
    failed = run_all(jobs_for(workplaces, arguments.experiments), processes=arguments.processes)
    for folder in arguments.output.glob("slices-*"):
        shutil.rmtree(folder)
    if failed:
        sys.exit(f"gpu_trainings.py: failed, or not begun because of it: {', '.join(map(str, failed))}")


def jobs_for(workplaces: Sequence[Workplace], experiments: Sequence[str] | None) -> list[Job]:
    """All trainings that the models' experiments need, each once, after those that it needs itself."""
    jobs: dict[Path, Job] = {}
    for workplace in workplaces:
        splits = experiments_of(open_data_set(workplace.data), workplace.training)
        for name in trainings_for(workplace.model.training):
            for experiment, split in splits.items():
                if experiments is None or experiment in experiments:
                    job = Job(name, experiment, split, workplace)
                    jobs.setdefault(job.run, job)
    return list(jobs.values())


def run_all(jobs: Sequence[Job], *, processes: int) -> list[Path]:
    """Train everything, so many at once.

    Returns:
        The run folders that were not made.
    """
    prepare_once(jobs)
    context = multiprocessing.get_context("fork")  # this process never touches the GPU, so that its children can
    messages: multiprocessing.Queue[tuple[Job, str]] = context.Queue()
    waiting, running = list(jobs), dict[Path, tuple[Job, ForkProcess]]()
    done, failed, compiled = set[Path](), set[Path](), set[str]()
    while waiting or running:
        for job in list(waiting):
            if job.needs & failed:
                failed.add(job.run)
                waiting.remove(job)
            elif job.needs <= done and len(running) < processes:
                compiling = {other.training for other, _ in running.values()} - compiled
                if job.training in compiling:
                    continue
                process = context.Process(target=_work, args=(job, messages), daemon=True)
                process.start()
                running[job.run] = job, process
                waiting.remove(job)
        try:
            told, what = messages.get(timeout=1)
        except queue.Empty:
            killed = {run for run, (_, process) in running.items() if process.exitcode not in (None, 0)}
            failed |= killed
            running = {run: other for run, other in running.items() if run not in killed}
            continue
        compiled.add(told.training)
        if what != "compiled":
            running.pop(told.run)[1].join()
            (done if what == "done" else failed).add(told.run)
            print(f"{told.run}: {what}", file=sys.stderr, flush=True)
    return sorted(failed)


def _work(job: Job, messages: multiprocessing.Queue[tuple[Job, str]]) -> None:
    torch.set_num_threads(1)
    try:
        train_one(job, on_ready=lambda: messages.put((job, "compiled")))
        messages.put((job, "done"))
    except Exception as error:  # whatever it is, the others go on, and it is shown
        traceback.print_exc()
        messages.put((job, f"failed: {error}"))


def train_one(job: Job, *, on_ready: Callable[[], None] = lambda: None) -> None:
    """Make one run; what was killed goes on, what is done is left alone."""
    workplace, entry = job.workplace, TRAININGS[job.training]
    data_set = open_data_set(workplace.data)
    teacher = before = None
    if entry.taught_by:
        student, step = workplace.student(job.experiment, job.training)
        network, config = student.network, taught_config(student, step)
        teacher = load_checkpoint(step.teacher[0])
    else:
        before = workplace.first_weights(job.experiment, job.training)
        config = plan(data_set, **asked_of(entry, job.split, before))
    if is_done(job.run, config, job.split):
        return
    slices = slices_of(data_set, config.preprocessing, workplace.output)
    if teacher is None:
        postprocessing = find_postprocessing(slices.masks_of(job.split.train), data_set.labels)
        config = config.model_copy(update={"postprocessing": postprocessing})
        torch.manual_seed(config.training.seed)
        network = build_network(config.network)
        if before:
            initialise(network, config, before)
        taught = None
    else:
        others = slices_of(data_set, teacher.config.preprocessing, workplace.output)
        taught = Lesson(teacher.network, others, step.weight)
    record = TrainingRecord(
        data_folder=str(data_set.folder.resolve()),
        data_fingerprint=slices.fingerprint,
        split=job.split,
        machine=describe_machine(workplace.device),
        versions=versions(),
    )
    trainer = GraphTrainer(
        network, config, record, slices, job.run, device=workplace.device, lesson=taught, on_ready=on_ready
    )
    if (job.run / STATE).is_file():
        trainer.resume()
    else:
        describe_run(job.run, config, record)
    trainer.run()


def prepare_once(jobs: Sequence[Job]) -> None:
    """Prepare the slices of every size, which all processes read then."""
    for name in dict.fromkeys(job.training for job in jobs):
        job = next(job for job in jobs if job.training == name)
        data_set = open_data_set(job.workplace.data)
        config = plan(data_set, **asked_of(TRAININGS[name], job.split, None))
        slices_of(data_set, config.preprocessing, job.workplace.output)


def slices_of(data_set: DataSet, preprocessing: Preprocessing, output: Path) -> SliceSet:
    """Those of all patients; read where they are prepared already."""
    names = sorted(case.name for case in data_set.cases)
    return prepare_slices(data_set, names, preprocessing, output / f"slices-{preprocessing.image_size}")


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"gpu_trainings.py: {error}")
