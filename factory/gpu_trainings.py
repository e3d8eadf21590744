"""Do every training of the built-in models on one GPU, many networks at once, each optimizer step one CUDA graph.

    python -m factory.gpu_trainings NAME [NAME ...] --data DATA --output FOLDER [--experiments split all ...]

The run folders are those of `factory.builtin_models` with the same FOLDER, which exports, tests and installs what was
trained here. A training starts as soon as the networks that it starts from and that teach it are complete. The first
training of each kind runs ahead, so that the others find its kernels compiled. Complete runs are left alone. Processes
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
from functools import partial
from multiprocessing.context import ForkProcess
from pathlib import Path

import torch

from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import DataSet, Split
from embedded_vit.errors import EmbeddedVitError
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.checkpoint import load_checkpoint
from embedded_vit.training.distillation import Distillation, Teacher
from embedded_vit.training.recorded_stepper import RecordedStepper
from embedded_vit.training.run import is_finished, open_run
from embedded_vit.training.slices import SliceSet, prepare_slices
from embedded_vit.training.training import plan
from factory import table
from factory.experiments import experiments_of
from factory.folders import ModelFolders
from factory.making import ModelMaker, asked_of, taught_config

__all__ = ["Job", "jobs_for", "run_all", "train_one"]


@dataclass(frozen=True)
class Job:
    """One training of one experiment.

    Attributes:
        training: The training's name in the table.
        experiment: The experiment, which names the run folder.
        split: Training and test cases, and the seed.
        maker: Data, folders and device.
    """

    training: str
    experiment: str
    split: Split
    maker: ModelMaker

    @property
    def run(self) -> Path:
        """The run folder of the training."""
        return self.maker.folders.run(self.experiment, self.training)

    @property
    def needs(self) -> set[Path]:
        """The run folders that must be complete before."""
        entry = table.TRAININGS[self.training]
        needed = (entry.starts_from, entry.taught_by)
        return {self.maker.folders.run(self.experiment, name) for name in needed if name}


def main() -> None:
    """Run the trainings of the models that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m factory.gpu_trainings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", choices=table.MODELS, metavar="NAME", help=", ".join(table.MODELS))
    parser.add_argument("--data", type=Path, required=True, help="the labelled data set")
    parser.add_argument("--output", type=Path, required=True, help="the same as for factory.builtin_models")
    parser.add_argument("--experiments", nargs="+", metavar="EXPERIMENT", help="by default every one")
    parser.add_argument("--processes", type=int, default=9, help="trainings at a time (default: %(default)s)")
    parser.add_argument("--device", default="cuda", help="where to train (default: %(default)s)")
    arguments = parser.parse_args()
    folders = [ModelFolders(name, arguments.output) for name in arguments.names]
    makers = [ModelMaker(each, arguments.data, arguments.device) for each in folders]
    failed = run_all(jobs_for(makers, arguments.experiments), processes=arguments.processes)
    for slices in arguments.output.glob("slices-*"):
        shutil.rmtree(slices)
    if failed:
        names = ", ".join(map(str, failed))
        sys.exit(f"factory.gpu_trainings: failed, or not started because of a failure: {names}")


def jobs_for(makers: Sequence[ModelMaker], experiments: Sequence[str] | None) -> list[Job]:
    """Return all trainings that the models' experiments need; each comes once, after those that it needs itself.

    Args:
        makers: The makers of the models.
        experiments: Names of the experiments; None for all.
    """
    jobs: dict[Path, Job] = {}
    for maker in makers:
        splits = experiments_of(open_data_set(maker.data), maker.folders.training)
        for name in table.trainings_for(maker.folders.model.training):
            for experiment, split in splits.items():
                if experiments is None or experiment in experiments:
                    job = Job(name, experiment, split, maker)
                    jobs.setdefault(job.run, job)
    return list(jobs.values())


def run_all(jobs: Sequence[Job], *, processes: int) -> list[Path]:
    """Run all trainings, several at a time.

    Args:
        jobs: The trainings; each comes after those that it needs.
        processes: The largest number at a time.

    Returns:
        The run folders of trainings that failed or did not start.
    """
    prepare_once(jobs)
    context = multiprocessing.get_context("fork")  # a fork can use the GPU only if its parent never did
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
    except Exception as error:  # any failure is shown, and the other trainings go on
        traceback.print_exc()
        messages.put((job, f"failed: {error}"))


def train_one(job: Job, *, on_ready: Callable[[], None] = lambda: None) -> None:
    """Run one training; a run that was killed is resumed, a complete one is left alone.

    Args:
        job: The training.
        on_ready: Called when the optimizer step is recorded.
    """
    maker, entry = job.maker, table.TRAININGS[job.training]
    data_set = open_data_set(maker.data)
    network = teacher = None
    if entry.taught_by is None:
        before = maker.first_weights(job.experiment, job.training)
        config = plan(data_set, **asked_of(entry, job.split, before))
    else:
        student, step = maker.student(job.experiment, job.training)
        network, config, teacher = student.network, taught_config(student, step), load_checkpoint(step.teacher[0])
    if is_finished(job.run, config, job.split, data_set):
        return
    distillation = None
    if teacher is not None:
        theirs = teacher.config.preprocessing
        slices = slices_of(data_set, theirs, maker.folders.output)
        distillation = Distillation([Teacher(teacher.network, slices, theirs.context_slices)], table.TEACHERS_WEIGHT)
    trainer = open_run(
        *(job.run, config, slices_of(data_set, config.preprocessing, maker.folders.output), job.split),
        data_folder=data_set.folder,
        network=network,
        device=maker.device,
        make_stepper=partial(RecordedStepper, distillation=distillation, on_ready=on_ready),
    )
    trainer.run()


def prepare_once(jobs: Sequence[Job]) -> None:
    """Prepare the slices of every image size, which all processes read afterwards."""
    for name in dict.fromkeys(job.training for job in jobs):
        job = next(job for job in jobs if job.training == name)
        data_set = open_data_set(job.maker.data)
        config = plan(data_set, **asked_of(table.TRAININGS[name], job.split, None))
        slices_of(data_set, config.preprocessing, job.maker.folders.output)


def slices_of(data_set: DataSet, preprocessing: Preprocessing, output: Path) -> SliceSet:
    """Return the slices of all patients, prepared once."""
    names = sorted(case.name for case in data_set.cases)
    return prepare_slices(data_set, names, preprocessing, output / f"slices-{preprocessing.image_size}")


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"factory.gpu_trainings: {error}")
