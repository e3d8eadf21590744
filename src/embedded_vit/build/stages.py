"""The stages of a build, one function each. Each leaves its result whole, or goes on where a killed one was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path

from embedded_vit.artifact.manifest import read_artifact, sealed
from embedded_vit.build.context import BuildContext
from embedded_vit.build.fine_tuning import fine_tuning_plan, write_start
from embedded_vit.build.listener import EpochsOfAStage
from embedded_vit.build.record import StageName
from embedded_vit.build.reserve import measured_costs
from embedded_vit.build.scoring import score
from embedded_vit.compression.compressing import ARTIFACT, PLAN, compress
from embedded_vit.compression.plan import CompressionPlan, read_plan
from embedded_vit.datasets.patients import with_patients
from embedded_vit.errors import GateError
from embedded_vit.export.exporting import export_checkpoint, model_name
from embedded_vit.io.atomic import atomic_path
from embedded_vit.planning.planning import plan_for
from embedded_vit.training.checkpoint import load_checkpoint
from embedded_vit.training.run import is_begun
from embedded_vit.training.slices import prepare_slices
from embedded_vit.training.training import COARSE_COST, at_half_the_size, train_planned

__all__ = ["STAGE_FUNCTIONS", "make_plan"]

MINUTES = 60.0
LEAST_TRAINING = 0.25  # of the minutes: a training this short is worth more than the minutes that are kept
UNSEEN = 0.03  # of the minutes, for what is not expected
COMPRESSION_SHARE = 0.4  # of the time for trainings, where the plan compresses


def make_plan(context: BuildContext) -> None:
    """Write the plan, unless there is one, which the user may have changed."""
    if context.plan_file.is_file():
        return
    data_set = with_patients(context.stored, context.patient)
    for remark in data_set.remarks:
        context.listener.say(remark)
    minutes = MINUTES if context.minutes is None else context.minutes
    if context.init is None:
        names, seen = len(data_set.cases), count()
        plan = plan_for(
            data_set,
            latency_ms=context.latency_ms,
            minutes=minutes,
            patient=context.patient,
            structures=context.record.structures,
            plane=context.plane,
            device=context.device,
            on_case=lambda name: context.listener.advance(next(seen) / names),
            on_trial=lambda plane: context.listener.say(f"a short training in {plane} slices ..."),
        )
    else:
        plan = fine_tuning_plan(data_set, context.init, minutes=minutes, patient=context.patient)
    plan.write(context.plan_file)


def prepare(context: BuildContext) -> None:
    """Prepare the slices of both image sizes, and measure what the stages after the training will take."""
    config = context.config
    configs = [at_half_the_size(config)] if config.training.coarse_epochs else []
    names = sorted(context.split.train + context.split.validation)
    done = 0

    def case_done(name: str) -> None:
        nonlocal done
        done += 1
        context.listener.advance(0.9 * done / (len(names) * (len(configs) + 1)))

    for each in [*configs, config]:
        folder = context.slices / str(each.network.image_size)
        prepare_slices(context.data_set, names, each.preprocessing, folder, on_case=case_done)
    if context.init is not None:
        write_start(context)
    case = context.data_set.case(context.split.train[len(context.split.train) // 2])
    costs = measured_costs(context.data_set, case, config, threads=context.threads)
    scored = len(context.split.test) * (1 if context.init is None else 2)
    expected: dict[StageName, float] = {
        "export": costs.export_seconds(len(names)),
        "score": costs.score_seconds(scored),
    }
    context.keep(context.record.model_copy(update={"expected": expected}))


def train(context: BuildContext) -> None:
    """Train, at half the image size first where the plan says so, for the time that is left."""
    training, record = context.config.training, context.record
    if record.training_seconds is None:
        minutes = 60 * context.plan.minutes
        left = minutes - record.elapsed - sum(record.expected.values())
        seconds = max(left - UNSEEN * minutes, LEAST_TRAINING * minutes)
        context.keep(record.model_copy(update={"training_seconds": seconds, "plan_sha256": context.plan_sha256}))
    seconds = (context.record.training_seconds or 0.0) * (
        1 if context.plan.compression is None else 1 - COMPRESSION_SHARE
    )
    context.listener.expect({**context.record.expected, "train": seconds})
    coarse = COARSE_COST * training.coarse_epochs
    parts = [coarse, training.epochs] if coarse else [training.epochs]
    train_planned(
        *(context.data_set, context.config, context.run),
        split=context.split,
        slices_folder=context.slices,
        resume=is_begun(context.run),
        device=context.device,
        threads=context.threads,
        seconds_limit=seconds,
        listener=EpochsOfAStage(context.listener, [part / sum(parts) for part in parts]),
    )


def compress_to_plan(context: BuildContext) -> None:
    """Compress the trained network by the plan that the build's plan names; a gate that stops it is noted."""
    assert context.plan.compression is not None
    compression = read_plan(context.plan.compression)
    epochs = _epochs_of(compression)
    seconds = (context.record.training_seconds or 0.0) * COMPRESSION_SHARE
    context.listener.expect({"compress": seconds})
    try:
        compress(
            *(context.run, compression, context.small),
            data_folder=context.data_folder,
            resume=(context.small / PLAN).is_file(),
            device=context.device,
            threads=context.threads,
            listener=EpochsOfAStage(context.listener, [each / sum(epochs) for each in epochs]),
            seconds_an_epoch=seconds / sum(epochs),
        )
    except GateError as error:
        context.note(f"The network was not compressed further: {error}.")


def _epochs_of(compression: CompressionPlan) -> list[float]:
    """Return the epochs of every training that a compression plan asks for, at least one."""
    epochs: list[float] = []
    for step in compression.steps:
        settings = step.model_dump()
        whole = sum(value for name, value in settings.items() if name.endswith("epochs") and isinstance(value, int))
        rounds = int(settings.get("rounds", 1))
        epochs += [whole / rounds] * rounds if whole else []
    return epochs or [1.0]


def export(context: BuildContext) -> None:
    """Write the model file, named after the data set and the folder of the build."""
    data_set = context.data_set
    checkpoint = load_checkpoint(context.run)
    name = model_name(checkpoint.record, data_set, context.output)
    compressed = context.small / ARTIFACT
    if compressed.is_file():
        _renamed(compressed, context.model, name)
    else:
        export_checkpoint(checkpoint, context.model, data_set, name=name, overwrite=True)


def _renamed(source: Path, target: Path, name: str) -> None:
    """Copy a model file, under another name in its manifest."""
    content, manifest = read_artifact(source)
    with atomic_path(target, overwrite=True) as temporary:
        temporary.write_bytes(sealed(content, manifest.model_copy(update={"name": name})))


STAGE_FUNCTIONS: Mapping[StageName, Callable[[BuildContext], None]] = {
    "plan": make_plan,
    "prepare": prepare,
    "train": train,
    "compress": compress_to_plan,
    "export": export,
    "score": score,
}
