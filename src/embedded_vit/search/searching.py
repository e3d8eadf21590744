"""Search for the best network within a budget: choose a candidate, measure it, train it briefly, repeat.

OUTPUT/search.journal       every trial, unless a data base has them; several processes or machines may work on one
OUTPUT/trials/0003/         an ordinary run folder; its score in validation/, its initial weights in start/
OUTPUT/slices/64/           prepared once for all trials at 64 pixels
OUTPUT/search.json, .csv, .png
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import optuna
import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from embedded_vit.costs.complexity import complexity
from embedded_vit.counted import counted
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import DataSet, Split, make_split
from embedded_vit.errors import ConfigError, DataSetError, TrainingError
from embedded_vit.evaluation.evaluating import evaluate
from embedded_vit.evaluation.scores import Scores
from embedded_vit.io.atomic import sweep_tree
from embedded_vit.models.registry import build_network
from embedded_vit.provenance import describe_machine, versions
from embedded_vit.search.alive import SignsOfLife, next_trial, taken_trials, try_again_what_died
from embedded_vit.search.database import open_database, told_in_one_line
from embedded_vit.search.inheritance import inherit, likeness, tensor_shapes
from embedded_vit.search.latency import REFERENCE, LatencyMeter, busy_now
from embedded_vit.search.record import SearchRecord, TrialRecord, train_command, with_front, write_record
from embedded_vit.search.space import Candidate, SearchSettings, suggest
from embedded_vit.search.study import data_identity, journal_errors, open_study, signs_of_life
from embedded_vit.training.checkpoint import MODEL, Checkpoint, TrainingRecord
from embedded_vit.training.processes import check_device
from embedded_vit.training.settings import RunConfig
from embedded_vit.training.training import plan, train

__all__ = ["search"]

RECORD, REFERENCE_MS, ENGINE = "record", "reference_ms", "engine"  # attributes of a trial and of the study
WAIT_SECONDS = 2.0  # between two looks at what other processes work on


def search(
    data_folder: str | Path,
    output: str | Path,
    *,
    settings: SearchSettings,
    trials: int,
    storage: str | None = None,
    device: str = "cpu",
    on_event: Callable[[str], None] = lambda event: None,
) -> SearchRecord:
    """Search until there are `trials` trials; those that the folder holds already count.

    Args:
        data_folder: A data set in any known layout.
        output: The folder of the search; an existing search is continued, even while other processes work on it.
        settings: The search space and the budget.
        trials: Trials of all processes together, including those over the budget, which are not trained.
        storage: The address of a data base that has the trials, as `open_database` takes it; None for the folder.
        device: Where to train; latency is always measured on the processor.
        on_event: Called with one line for each event.

    Raises:
        ConfigError: The folder or data base holds another search, the data base cannot be reached, or there are no
            validation cases to select on.
        InputError: Data, settings or the folder are not usable.
    """
    check_device(device)
    if trials < 1:
        raise ConfigError(f"--trials {trials}: expected at least 1")
    data_set, output = open_data_set(data_folder), Path(output)
    split = make_split(data_set, seed=settings.seed, validation_cases=settings.validation_cases)
    if not split.validation:
        raise ConfigError("a search needs validation cases to select on; raise --validation-cases or add patients")
    database = None if storage is None else open_database(storage)
    with journal_errors(output) if database is None else told_in_one_line(database.shown):
        study = open_study(output, settings, data_identity(data_set, split), database)
        sweep_tree(output)
        signs = signs_of_life(output, database)
        return _Searcher(data_set, split, output, settings, study, signs, device, on_event).search(trials)


@dataclass
class _Searcher:
    """The settings that stay the same from trial to trial."""

    data_set: DataSet
    split: Split
    output: Path
    settings: SearchSettings
    study: optuna.Study
    signs: SignsOfLife
    device: str
    on_event: Callable[[str], None]

    def search(self, trials: int) -> SearchRecord:
        """Try candidates until there are enough, and take up those of processes that died."""
        waited_for: list[int] = []
        while True:
            for dead in try_again_what_died(self.study, self.signs):
                self.on_event(f"trial {dead.number}: its process died; its candidate is tried again")
                shutil.rmtree(self.folder(dead.number), ignore_errors=True)
            if self.run_trial(trials):
                self.write()
                continue
            others = self.signs.others(self.study)
            if not others and taken_trials(self.study) >= trials:
                return self.write()
            if others != waited_for:
                self.on_event(f"waiting for {counted(len(others), 'trial')} of other processes")
            waited_for = others
            time.sleep(WAIT_SECONDS)

    def folder(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.output / "trials" / f"{number:04d}"

    def run_trial(self, trials: int) -> bool:
        """Ask for a candidate, measure and score it, and write the result; return whether one was still wanted."""
        before = self.records()
        drawn = len(self.study.get_trials(deepcopy=False))  # a resumed search must not draw the same candidates again
        self.study.sampler = optuna.samplers.TPESampler(seed=self.settings.seed + drawn)
        with next_trial(self.study, self.signs, trials) as trial:
            if trial is None:
                return False
            candidate = suggest(trial, self.settings)
            self.on_event(f"trial {trial.number} of {trials}: {candidate}")
            same = next((record for record in before if record.candidate == candidate), None)
            if same is None:
                record = self._tried(trial.number, candidate, before)
            else:
                record = same.model_copy(update={"number": trial.number, "same_as": same.number, "seconds": 0.0})
                self.on_event(f"trial {trial.number}: the same as trial {same.number}")
            try:
                self._tell(trial, record)
            except UpdateFinishedTrialError:
                self.on_event(f"trial {trial.number}: was taken for dead by another process, which tries it again")
        return True

    def _tell(self, trial: optuna.Trial, record: TrialRecord) -> None:
        """Write the result of a trial."""
        trial.set_user_attr(RECORD, record.model_dump(mode="json"))
        if record.state == "trained":
            assert record.validation_dice is not None
            assert record.latency_ms is not None
            self.study.tell(trial, [record.validation_dice, record.latency_ms])
        else:
            if record.state == "over budget":
                trial.set_constraint("budget", self._over_budget(record))
            self.study.tell(trial, state=TrialState.PRUNED)

    def records(self) -> list[TrialRecord]:
        """Return the finished trials."""
        done = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return [TrialRecord.parse(trial.user_attrs[RECORD], source=f"trial {trial.number}") for trial in done]

    def write(self) -> SearchRecord:
        """Write the record of the search so far, and return it."""
        trials = with_front(self.records())
        best = max(
            (trial for trial in trials if trial.front), key=lambda trial: trial.validation_dice or 0, default=None
        )
        data_folder = self.data_set.folder.resolve()
        record = SearchRecord(
            settings=self.settings,
            data_folder=str(data_folder),
            validation=self.split.validation,
            reference_ms=self.reference_ms,
            engine=self.study.user_attrs.get(ENGINE, self.settings.engine),
            trials=trials,
            best=best.number if best else None,
            command=train_command(best.candidate, self.settings, data_folder, self.output / "best") if best else None,
            versions=versions(),
        )
        write_record(self.output, record)
        return record

    @cached_property
    def meter(self) -> LatencyMeter:
        """The meter for latencies on this machine."""
        self.on_event("exporting the network that latencies are measured against")
        reference = plan(self.data_set, network=REFERENCE, architecture={}, training=self.settings.training())
        engine = self.study.user_attrs.get(ENGINE, self.settings.engine)  # "auto" is decided once for the whole search
        meter = LatencyMeter(reference, engine, threads=self.settings.threads)
        if engine == "auto":
            self.study.set_user_attr(ENGINE, meter.engine)
            self.on_event(f"latency is measured in {meter.engine}, the fastest engine for that network")
        return meter

    @cached_property
    def reference_ms(self) -> float:
        """The reference's latency when the search began."""
        if REFERENCE_MS not in self.study.user_attrs:
            for reason in busy_now(self.settings.threads):
                self.on_event(f"{reason}: latencies may be too long; start the search again when the machine is idle")
            self.study.set_user_attr(REFERENCE_MS, self.meter.reference_ms())
        reference_ms: float = self.study.user_attrs[REFERENCE_MS]
        return reference_ms

    def _tried(self, number: int, candidate: Candidate, before: Sequence[TrialRecord]) -> TrialRecord:
        """Measure a candidate and, if it is within the budget, train and score it."""
        started = time.perf_counter()
        config = plan(
            self.data_set,
            network=None,
            architecture=candidate.architecture(),
            training=self.settings.training(),
            context_slices=candidate.context_slices,
        )
        costs = complexity(config.network, input_channels=config.preprocessing.input_channels)
        record = TrialRecord(
            number=number,
            state="over budget",
            candidate=candidate,
            macs=costs.macs,
            parameters=costs.parameters,
            latency_ms=None,
            measured_ms=None,
            reference_ms=None,
            seed=self.settings.seed,
            machine=describe_machine(),
            seconds=0.0,
        )
        if self._over_budget(record) <= 0:
            measured = self.meter.measure(config)
            record = record.model_copy(
                update={
                    "latency_ms": measured.ratio * self.reference_ms,
                    "measured_ms": measured.candidate_ms,
                    "reference_ms": measured.reference_ms,
                }
            )
        if self._over_budget(record) <= 0:
            record = record.model_copy(update=self._trained(number, candidate, config, before))
        self.on_event(_line(record, self.settings))
        return record.model_copy(update={"seconds": time.perf_counter() - started})

    def _over_budget(self, record: TrialRecord) -> float:
        """Return cost / budget - 1: at most 0 within the budget; 0 also while the cost is not measured."""
        cost = getattr(record, self.settings.budget.name)
        return 0.0 if cost is None else cost / self.settings.budget.limit - 1

    def _trained(
        self, number: int, candidate: Candidate, config: RunConfig, before: Sequence[TrialRecord]
    ) -> dict[str, object]:
        """Train a candidate briefly and score it; return the fields of its record."""
        folder = self.folder(number)
        facts: dict[str, object] = {"trained_epochs": self.settings.epochs}
        start = None
        if parent := self._parent(config, before):
            start = folder / "start"
            part = self._begin_with(config, self.folder(parent.number), start)
            facts = {
                "trained_epochs": self.settings.epochs + parent.trained_epochs,
                "inherited_from": parent.number,
                "inherited_part": part,
            }
            self.on_event(f"trial {number}: {part:.0%} of its weights from trial {parent.number}")
        try:
            train(
                self.data_set.folder,
                folder,
                architecture=candidate.architecture(),
                training=self.settings.training(None if start is None else str(start)),
                context_slices=candidate.context_slices,
                split=self.split,
                slices_folder=self.output / "slices",
                device=self.device,
                threads=self.settings.threads,
            )
        except TrainingError as error:
            return facts | {"state": "failed", "failure": str(error)}
        evaluation = evaluate(
            folder,
            self.data_set.folder,
            output=folder / "validation",
            subset="validation",
            threads=self.settings.threads,
        )
        dice = Scores.of(evaluation).dice
        if dice is None:
            raise DataSetError(
                f"{self.data_set.folder}: the validation cases hold no structure; choose others with --seed"
            )
        return facts | {"state": "trained", "validation_dice": dice}

    def _parent(self, config: RunConfig, before: Sequence[TrialRecord]) -> TrialRecord | None:
        """Return the trained trial that is most similar to a candidate; of equally similar ones the best.

        Machines that share a data base only have the weights of their own trials.
        """
        here = [record for record in before if (self.folder(record.number) / MODEL).is_file()]
        trained = [record for record in here if record.state == "trained" and record.same_as is None]
        if not (self.settings.inherit and trained):
            return None
        with torch.device("meta"):
            shapes = {name: tensor.shape for name, tensor in build_network(config.network).state_dict().items()}
        return max(
            trained,
            key=lambda record: (
                likeness(shapes, tensor_shapes(self.folder(record.number))),
                record.validation_dice or 0.0,
            ),
        )

    def _begin_with(self, config: RunConfig, parent: Path, start: Path) -> float:
        """Write a run folder with weights inherited from a trained run; return the fraction that was inherited."""
        torch.manual_seed(self.settings.seed)
        network = build_network(config.network)
        part = inherit(network.state_dict(), parent)
        record = TrainingRecord(data_folder=str(self.data_set.folder), data_fingerprint="not trained", split=self.split)
        Checkpoint(network, config, record).save(start)
        return part


def _line(record: TrialRecord, settings: SearchSettings) -> str:
    """Summarise a trial in one line."""
    latency = "" if record.latency_ms is None else f"{record.latency_ms:.2f} ms, "
    costs = f"{latency}{record.macs / 1e6:.1f} M MACs, {record.parameters / 1e6:.2f} M parameters"
    outcome = {
        "trained": f"validation Dice {record.validation_dice or 0.0:.3f}",
        "over budget": f"over {settings.budget}, not trained",
        "failed": record.failure,
    }
    return f"trial {record.number}: {costs}; {outcome[record.state]}"
