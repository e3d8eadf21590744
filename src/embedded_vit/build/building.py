"""`build`: from a labelled data set to a model file and a page about it, stage by stage.

OUTPUT/build-plan.yaml    every decision; the user may change it before the training begins
OUTPUT/build.json         what was asked for, and which stages are done
OUTPUT/build.lock         held by the build that is running
OUTPUT/slices/            prepared slices, removed at the end
OUTPUT/start/             the network of `init`, where one is trained further
OUTPUT/run/               run folder of the training; OUTPUT/small/ that of the compression
OUTPUT/model.onnx         the model file
OUTPUT/evaluation/        scores on held-out patients
OUTPUT/report.html        the page

A build that was killed goes on with the same call, and ends with the same model.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from embedded_vit.build.context import BuildContext
from embedded_vit.build.listener import BuildListener
from embedded_vit.build.record import RECORD_FILE, STAGES, BuildRecord, read_build_record
from embedded_vit.build.stages import STAGE_FUNCTIONS
from embedded_vit.counted import counted
from embedded_vit.errors import ConfigError, DataSetError, OutputError
from embedded_vit.io.atomic import check_folder, sweep_tree
from embedded_vit.io.file_lock import file_lock
from embedded_vit.planning.planning import Plane
from embedded_vit.planning.summary import plan_text
from embedded_vit.slicing import PLANES
from embedded_vit.training.processes import check_device

__all__ = ["build"]

LOCK_FILE = "build.lock"  # stays: whoever removed it could let two builds in


def build(
    data_folder: str | Path,
    output: str | Path,
    *,
    latency_ms: float | None = None,
    minutes: float | None = None,
    patient: str | None = None,
    structures: Sequence[str] | None = None,
    plane: Plane | None = None,
    init: str | Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    listener: BuildListener | None = None,
) -> Path:
    """Build a model file from a labelled data set; a build that was killed goes on.

    Args:
        data_folder: A data set in any known layout.
        output: The folder of the build; new, with a plan in it, or with a build of the same data.
        latency_ms: The most that a slice may take on this computer; None for what the plan says.
        minutes: For the whole build; by default 60, or what the plan says.
        patient: A pattern of the cases' names, as `open_data_set` takes it.
        structures: The structures to learn, as `open_data_set` takes them.
        plane: In which scans are cut into slices, as `plan_for` takes it; None for what the plan says.
        init: A run folder or a model file whose network is trained further; None for a fresh network.
        device: "cpu", "cuda", "cuda:1", ...
        threads: CPU threads; all cores by default.
        listener: Hears of the build; by default nobody.

    Returns:
        The model file; `report.html` lies beside it.

    Raises:
        InputError: Data, plan, options or the output folder are not usable.
        TrainingError: The loss is not finite.
    """
    context = _context(
        Path(data_folder),
        Path(output),
        None if init is None else Path(init),
        None if structures is None else tuple(structures),
        device=device,
        threads=threads,
        patient=patient,
        plane=plane,
        latency_ms=latency_ms,
        minutes=minutes,
        listener=listener or BuildListener(),
    )
    with _alone(context):
        _go_on(context)
    return context.model


@contextmanager
def _alone(context: BuildContext) -> Iterator[None]:
    """Keep other builds out of the folder while the `with` statement runs.

    Raises:
        ConfigError: Another one is running in it.
        DataSetError: The data set cannot be opened; then no folder is made.
    """
    _ = context.stored
    output = context.output
    with ExitStack() as stack:
        try:
            output.mkdir(parents=True, exist_ok=True)
            held = stack.enter_context(file_lock(output / LOCK_FILE))
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"{output}: cannot be written: {reason}; choose another --output") from error
        if held is False:
            raise ConfigError(
                f"{output}: another build is running in this folder; wait until it ends, or choose another --output"
            )
        stack.callback(_remove_if_empty, output)  # while the lock is held
        sweep_tree(output)
        context.record = read_build_record(output) or context.record  # as it is now that nobody else writes it
        yield


def _remove_if_empty(output: Path) -> None:
    """Remove a folder that holds nothing but the lock: what is refused leaves nothing."""
    with suppress(OSError):
        if os.listdir(output) == [LOCK_FILE]:
            (output / LOCK_FILE).unlink()
        output.rmdir()  # which fails where something is in it


def _context(
    data_folder: Path,
    output: Path,
    init: Path | None,
    structures: tuple[str, ...] | None,
    *,
    device: str,
    listener: BuildListener,
    **options: Any,
) -> BuildContext:
    """Check what was asked for, and take up what the folder holds of this build.

    Raises:
        ConfigError: The device is not there, or the folder holds a build of other data or of another network.
        OutputError: The folder cannot be written, or holds something else.
    """
    check_device(device)
    check_folder(output)
    record = read_build_record(output)
    asked = {
        "data_folder": str(data_folder.resolve()),
        "init": None if init is None else str(init.resolve()),
        "structures": structures,
    }
    if record is None:
        for name in ("model.onnx", "run", "report.html"):
            if (output / name).exists():
                raise OutputError(f"{output}: holds {name}, but no build ({RECORD_FILE}); choose another --output")
        record = BuildRecord.parse(asked, source="the command line")
    for name, wanted in asked.items():
        before = getattr(record, name)
        if before != wanted:
            option = {"data_folder": "--data"}.get(name, f"--{name}")
            raise ConfigError(
                f"{output}: holds a build with {option} {before or 'left out'}, now it is {wanted or 'left out'}; "
                "choose another --output"
            )
    if init is not None and options.get("latency_ms") is not None:
        raise ConfigError("--budget chooses a network, and --init brings one: leave one of them out")
    if init is not None and options.get("plane") is not None:
        raise ConfigError("--plane cuts scans for a fresh network, and --init brings one: leave one of them out")
    return BuildContext(data_folder, output, record, device=device, init=init, listener=listener, **options)


def _go_on(context: BuildContext) -> None:
    """Do the stages that are left."""
    if "plan" in context.record.seconds:
        _check_plan(context)
        context.listener.planned(context.plan.minutes, context.record.seconds)
    for name in STAGES:
        if name in context.record.seconds or (name == "compress" and context.plan.compression is None):
            continue
        began = time.perf_counter()
        with context.listener.stage(name):
            STAGE_FUNCTIONS[name](context)
        context.keep(context.record.done(name, time.perf_counter() - began))
        if name == "plan":
            _check_plan(context)
            _show(context)
            context.listener.planned(context.plan.minutes, context.record.seconds)
    shutil.rmtree(context.slices, ignore_errors=True)


def _check_plan(context: BuildContext) -> None:
    """Refuse options that the plan contradicts, and a plan that was changed after the training began.

    Raises:
        ConfigError: One of them.
        DataSetError: No patient can be held out.
    """
    asked: dict[str, tuple[object, object]] = {
        "--minutes": (context.minutes, context.plan.minutes),
        "--budget latency_ms": (context.latency_ms, context.plan.latency_ms),
        "--patient": (context.patient, context.plan.split.patient),
    }
    if context.plane != "measured":
        asked["--plane"] = (context.plane, PLANES[context.plan.preprocessing.orientation])
    if context.plan.structures is not None:
        asked["--structures"] = (context.record.structures, context.plan.structures)
    for option, (given, planned) in asked.items():
        if given is not None and given != planned:
            raise ConfigError(
                f"{context.plan_file}: was made for {option} {planned or 'left out'}, now it is {given}; leave the "
                "option out, change the file, or remove it to plan anew"
            )
    begun = context.record.plan_sha256
    if begun not in ("", context.plan_sha256):
        raise ConfigError(
            f"{context.plan_file}: was changed after the training began; put it back, or copy it to another --output"
        )
    _ = context.config  # which refuses a plan that was made for other data
    if not context.split.test:
        patients = len({case.patient for case in context.data_set.cases})
        raise DataSetError(
            f"{context.data_folder}: {counted(patients, 'patient')}, none of whom can be held out to "
            "say how good the model is; add cases of other patients"
        )


def _show(context: BuildContext) -> None:
    """Tell the plan: what is there, and each decision with its reason."""
    for line in plan_text(context.plan, context.data_set).splitlines():
        context.listener.say(line)
    context.listener.say(f"change any of it in {context.plan_file}")
