"""Compression of a trained run by a plan: every step is measured and must pass the gate before the next one begins.

OUTPUT/recipe.json           the run and the plan, against which `--resume` is checked
OUTPUT/compression.json      the measurements of every stage
OUTPUT/steps/N-NAME/         run folder and `model.onnx` of each stage; its trainings in attempt-M/
OUTPUT/                      run folder and `model.onnx` of the last stage
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embedded_vit.compression.gate import Gate
from embedded_vit.compression.measure import measure_artifact
from embedded_vit.compression.plan import RETIRED_STEPS, CompressionPlan
from embedded_vit.compression.record import (
    COMPRESSION_FILE,
    ORIGINAL,
    Attempt,
    CompressionRecord,
    Measurements,
    StageRecord,
    read_compression_record,
    write_compression_record,
)
from embedded_vit.compression.step import Step, StepContext, StepResult
from embedded_vit.engines import EngineChoice, open_network
from embedded_vit.errors import CheckpointError, ConfigError, GateError, OutputError
from embedded_vit.evaluation.scores import Scores
from embedded_vit.export.exporting import export_checkpoint, model_name, with_plausibility
from embedded_vit.io.atomic import sweep_tree, write_text
from embedded_vit.io.json_file import read_json_object
from embedded_vit.provenance import available_cores, describe_machine, versions
from embedded_vit.training.checkpoint import Checkpoint, load_checkpoint
from embedded_vit.training.processes import check_device, keep_freed_memory
from embedded_vit.training.progress import TrainingListener

__all__ = ["compress"]

ARTIFACT, PLAN, STEPS = "model.onnx", "recipe.json", "steps"
PROTECTED_FRACTIONS = (0.0, 0.25, 0.5)  # of a step's units in its first, second and third attempt


def compress(
    run: str | Path,
    plan: CompressionPlan,
    output: str | Path,
    *,
    data_folder: str | Path | None = None,
    resume: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    engine: EngineChoice = "onnxruntime",
    on_stage: Callable[[StageRecord], None] = lambda stage: None,
    listener: TrainingListener | None = None,
    seconds_an_epoch: float | None = None,
) -> CompressionRecord:
    """Compress a trained run.

    Args:
        run: A run folder; not changed.
        plan: The steps, and the gate that each must pass.
        output: The run folder to make; it must be new unless `resume` is set.
        data_folder: The data set; by default the one that the run was trained on.
        resume: Continue an interrupted compression by the same plan.
        device: Where to train.
        threads: CPU threads; by default all that this process may use.
        engine: The engine that latency and memory are measured in; "auto" takes the fastest for each model file. Dice
            is always measured in ONNX Runtime.
        on_stage: Called when a stage is done.
        listener: Hears of the steps' trainings, in place of their displays and of the bars of evaluations.
        seconds_an_epoch: What an epoch of the steps' trainings may take on average; slower ones have fewer epochs.

    Raises:
        GateError: A step fails at the gate in every attempt; the stage before it is kept.
        InputError: The run, the data, the plan or the output folder is not usable.
        TrainingError: A loss is not finite.
    """
    run, output = Path(run), Path(output)
    check_device(device)
    original = load_checkpoint(run)
    values = plan.plain()
    keep_freed_memory()
    data_folder, threads = Path(data_folder or original.record.data_folder), threads or available_cores()
    context = StepContext(
        *(data_folder, original, output),
        device=device,
        threads=threads,
        engine=engine,
        listener=listener,
        seconds_an_epoch=seconds_an_epoch,
    )
    _check_output(output, run, values, context, resume)
    sweep_tree(output)
    compression = _Compression(output, values, plan.shareable(), plan.gate, context, on_stage)
    return compression.apply(plan.steps, compression.begin(run))


def _check_output(output: Path, run: Path, values: dict[str, object], context: StepContext, resume: bool) -> None:
    path, engine = output / PLAN, context.engine
    asked: dict[str, object] = {"run": str(run.resolve()), "recipe": values}
    if engine != "onnxruntime":  # files of older versions have no engine, which meant ONNX Runtime
        asked["engine"] = engine
    if not resume:
        if path.exists() or (output / "config.json").exists():
            raise OutputError(f"{output}: holds a run already; choose another --output, or add --resume to continue it")
        write_text(path, json.dumps(asked | {"files_sha256": context.files_sha256}, indent=1))
    elif not path.is_file():
        raise ConfigError(f"{output}: nothing to resume from; compress without --resume")
    else:
        request = _request(path)
        files_sha256 = request.pop("files_sha256", None)  # older files do not have it
        if request != json.loads(json.dumps(asked)):
            raise ConfigError(
                f"{output}: cannot resume: it was started with another run or plan, or in another engine (see {path})"
            )
        if files_sha256 not in (None, context.files_sha256):
            raise ConfigError(
                f"{output}: cannot resume: scans or masks of {context.data_set.folder} have changed since it was "
                "started; put them back, or choose another --output"
            )


def _request(path: Path) -> dict[str, object]:
    """Read the run, plan and engine that a compression was started with.

    Retired steps are left out, and settings that a step did not have then get their defaults.
    """
    request = read_json_object(path, CheckpointError)
    plan = request.get("recipe")
    if not isinstance(plan, dict) or not isinstance(plan.get("steps"), list):
        return request
    steps = [step for step in plan["steps"] if not (isinstance(step, dict) and RETIRED_STEPS.keys() & step)]
    plan = plan | {"steps": steps}
    with suppress(ConfigError):  # a plan that this version cannot read is another plan
        plan = CompressionPlan.from_plain(plan, source=str(path)).plain()
    return request | {"recipe": plan}


@dataclass(frozen=True)
class _Compression:
    """The settings that stay the same from step to step."""

    output: Path
    plan: dict[str, object]
    shared_plan: dict[str, object]  # as the artifacts keep it, without paths
    gate: Gate | None
    context: StepContext
    on_stage: Callable[[StageRecord], None]

    @property
    def gate_subset(self) -> Literal["validation", "train"]:
        return "validation" if self.context.original.record.split.validation else "train"

    @property
    def scored_subsets(self) -> Sequence[Literal["validation", "train", "test"]]:
        """The subsets to score; training cases only for a gate, as their scores say nothing about new patients."""
        return ("test",) if self.gate is None and self.gate_subset == "train" else (self.gate_subset, "test")

    def begin(self, run: Path) -> CompressionRecord:
        """Export and measure the original run, or read the record of a compression that was killed."""
        if (self.output / COMPRESSION_FILE).is_file():
            record = read_compression_record(self.output)
            stages = tuple(stage for stage in record.stages if stage.name not in RETIRED_STEPS)
            return record.model_copy(update={"stages": stages})
        started = time.perf_counter()
        artifact, measured = self._realise(StepResult(self.context.original), self.folder(0, ORIGINAL), previous=None)
        record = CompressionRecord(
            original=str(run.resolve()),
            data_folder=str(self.context.data_set.folder),
            recipe=self.plan,
            engine=self.context.engine,
            stages=(self._recorded(ORIGINAL, artifact, measured, started),),
            machine=describe_machine(),
            versions=versions(),
        )
        write_compression_record(self.output, record)
        return record

    def apply(self, steps: Sequence[Step], record: CompressionRecord) -> CompressionRecord:
        """Apply the steps that a record does not have yet; errors as `compress`."""
        for number, step in enumerate(steps, start=1):
            if number < len(record.stages):
                continue
            try:
                stage = self.stage(number, step, record)
            except GateError as error:
                record = record.model_copy(update={"gate_failed": str(error)})
                write_compression_record(self.output, record)
                self.finish(record)
                raise
            record = record.model_copy(update={"stages": (*record.stages, stage), "gate_failed": None})
            write_compression_record(self.output, record)
        self.finish(record)
        return record

    def stage(self, number: int, step: Step, record: CompressionRecord) -> StageRecord:
        """Apply one step, with more protected units in each attempt, until it passes the gate.

        Raises:
            GateError: No attempt passes.
        """
        started = time.perf_counter()
        last = record.stages[-1]
        previous = self.output / last.artifact
        before = load_checkpoint(previous.parent)
        units: list[str] = []  # the most sensitive first; ranking is slow and waits for the first attempt to fail
        attempts: list[Attempt] = []
        for place, fraction in enumerate(PROTECTED_FRACTIONS):
            protected = frozenset(units[: round(fraction * len(units))])
            if place > 0 and not protected:
                break
            folder = self.folder(number, step.name)
            result = step.apply(before, self.context, folder / f"attempt-{place + 1}", protected)
            artifact, measured = self._realise(result, folder, previous)
            scores, reason = _gate_scores(measured), ""
            if self.gate:
                reference = _gate_scores(record.stages[0].measured)
                assert scores  # see `scored_subsets`
                assert reference
                reason = self.gate.objection(reference, scores)
            dice = scores.dice if scores else None
            attempts.append(Attempt(protected=tuple(sorted(protected)), dice=dice, passed=not reason, reason=reason))
            if not reason:
                settings = step.model_dump(mode="json", exclude_unset=True)
                return self._recorded(
                    step.name, artifact, measured, started, settings=settings, attempts=attempts, facts=result.facts
                )
            if place == 0:
                units = self._by_sensitivity(step, before)
        shutil.rmtree(self.folder(number, step.name), ignore_errors=True)
        tries = "; ".join(attempt.reason for attempt in attempts)
        raise GateError(
            f"step {number}, {step.name}, does not pass the gate ({tries}); the stage before it, {last.name}, is kept "
            f"in {self.output}"
        )

    def _by_sensitivity(self, step: Step, before: Checkpoint) -> list[str]:
        """Sort a step's units by sensitivity: first the one whose treatment alone costs the most Dice."""
        whole = self.context.quick_dice(open_network(before.network), every=8)
        damage = {
            unit: whole - self.context.quick_dice(step.damaged(before, unit, self.context), every=8)
            for unit in step.units(before)
        }
        return sorted(damage, key=lambda unit: -damage[unit])

    def _realise(self, result: StepResult, folder: Path, previous: Path | None) -> tuple[Path, Measurements]:
        """Write a result as a run folder with an artifact, and measure the artifact."""
        checkpoint = result.checkpoint
        checkpoint.save(folder)
        artifact = folder / ARTIFACT
        export_checkpoint(
            checkpoint,
            artifact,
            self.context.data_set,
            graph=result.graph,
            name=model_name(self.context.original.record, self.context.data_set, self.output),
            precision=result.precision,
            compression=None if previous is None else self.shared_plan,
            judged=False,  # most attempts are not kept; `finish` does it once
            overwrite=True,
        )
        measured = measure_artifact(
            artifact,
            previous,
            checkpoint.network,
            checkpoint.config,
            self.context.data_set.folder,
            folder / "evaluation",
            subsets=self.scored_subsets,
            threads=self.context.threads,
            engine=self.context.engine,
            bars=self.context.listener is None,
        )
        return artifact, measured

    def _recorded(
        self,
        name: str,
        artifact: Path,
        measured: Measurements,
        started: float,
        *,
        settings: dict[str, object] | None = None,
        attempts: list[Attempt] | None = None,
        facts: dict[str, object] | None = None,
    ) -> StageRecord:
        stage = StageRecord(
            name=name,
            settings=settings or {},
            artifact=str(artifact.relative_to(self.output)),
            measured=measured,
            gate_subset=self.gate_subset,
            attempts=tuple(attempts or ()),
            seconds=time.perf_counter() - started,
            facts=facts or {},
        )
        self.on_stage(stage)
        return stage

    def folder(self, number: int, name: str) -> Path:
        """Return the folder of a stage."""
        return self.output / STEPS / f"{number}-{name}"

    def finish(self, record: CompressionRecord) -> None:
        """Copy the last stage that passed into the output folder, judged, and delete the prepared slices."""
        last = record.stages[-1]
        artifact = self.output / last.artifact
        load_checkpoint(artifact.parent).save(self.output)
        with_plausibility(artifact, self.output / ARTIFACT, self.context.data_set, self.context.original.record.split)
        self.context.clear()


def _gate_scores(measured: Measurements) -> Scores | None:
    return measured.validation or measured.train
