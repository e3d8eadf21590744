"""The last stage of a build: scores on held-out patients, latency, and the page that a stranger understands."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embedded_vit.artifact.manifest import Manifest, read_artifact
from embedded_vit.build.context import BuildContext
from embedded_vit.costs.latency import paired_latency
from embedded_vit.counted import counted
from embedded_vit.evaluation.evaluating import score_model, write_results
from embedded_vit.evaluation.pictures import SlicePicture
from embedded_vit.evaluation.report import render_report
from embedded_vit.evaluation.results import Evaluation
from embedded_vit.evaluation.statistics import Estimate, summarise
from embedded_vit.io.atomic import write_text
from embedded_vit.provenance import describe_machine
from embedded_vit.training.checkpoint import TrainingRecord, read_record
from embedded_vit.training.run import COARSE

__all__ = ["Comparison", "cautions", "compared", "score"]

REPORT_TEMPLATE = "build/report.html.j2"
FEW_PASSES = 20  # over the training slices, at both image sizes: seen less often, they are not learned
FEW_PATIENTS = 5
POOR_DICE = 0.5
STILL_RISING = 0.01  # of validation Dice in the last quarter of the epochs


@dataclass(frozen=True)
class Comparison:
    """The Dice of a model before and after it was trained further, on the same held-out cases.

    Attributes:
        before, after: Mean over structures of each one's mean over cases.
        change: The mean of the differences, with its 95 % interval over patients.
    """

    before: Estimate
    after: Estimate
    change: Estimate

    @property
    def verdict(self) -> str:
        """One sentence: whether the further training helped."""
        if self.change.mean is None:
            return "No held-out case says whether the further training helped."
        points = f"{100 * self.change.mean:+.1f} points of Dice"
        if self.change.low is None or self.change.high is None:
            return f"{points} on one held-out patient, who decides nothing."
        interval = f"{points}, 95 % interval {100 * self.change.low:+.1f} to {100 * self.change.high:+.1f}"
        if self.change.low > 0:
            return f"The further training helped: {interval}."
        if self.change.high < 0:
            return f"The further training harmed: {interval}. Keep the model that you had."
        return f"Whether the further training helped cannot be told: {interval}."


def score(context: BuildContext) -> None:
    """Score the model file on held-out patients, measure its latency, and write the page."""
    tested = len(context.split.test)
    models = 1 if context.init is None else 2
    shutil.rmtree(context.evaluation, ignore_errors=True)  # of a build that was killed while it wrote
    evaluation, pictures = _scored(context, context.model, _counting(context, models * tested, 0))
    comparison = None
    if context.init is not None:
        before, _ = _scored(context, context.start, _counting(context, models * tested, tested))
        comparison = compared(before, evaluation)
    write_results(context.evaluation, evaluation, pictures)
    [latency] = paired_latency([context.model])
    _, manifest = read_artifact(context.model)
    trained = read_record(context.run)
    coarse = read_record(context.run / COARSE) if context.config.training.coarse_epochs else None
    sentences = cautions(evaluation, trained, coarse=coarse, minutes=context.plan.minutes, fresh=context.init is None)
    for sentence in [*sentences, *([comparison.verdict] if comparison else [])]:
        context.listener.say(sentence)
    context.listener.say(_outcome(evaluation, latency.p50_ms))
    page = render_report(
        evaluation,
        pictures,
        template=REPORT_TEMPLATE,
        name=manifest.name,
        build_facts=_facts(context, manifest, passes(trained, coarse), latency.p50_ms),
        reasons=context.plan.reasons,
        cautions=[*sentences, *context.record.notes],
        comparison=comparison,
    )
    write_text(context.report, page, overwrite=True)


def _outcome(evaluation: Evaluation, latency_ms: float) -> str:
    dice = evaluation.summaries["dice"].overall
    value = "of no structure" if dice.mean is None else f"{dice.mean:.3f}"
    interval = (
        ""
        if dice.low is None or dice.high is None
        else f" (95 % interval over patients {dice.low:.3f} to {dice.high:.3f})"
    )
    return f"Dice {value}{interval} on {evaluation.counted}, held out; {latency_ms:.1f} ms per image"


def compared(before: Evaluation, after: Evaluation) -> Comparison:
    """Compare two evaluations case by case and structure by structure, where both have a value."""
    rows = {case.name: row for case, row in zip(before.cases, before.values("dice"), strict=True)}
    names = [case.name for case in after.cases]
    both = [index for index, name in enumerate(names) if name in rows]
    old = np.array([rows[names[index]] for index in both]).reshape(len(both), -1)
    new = after.values("dice")[both]
    known = ~(np.isnan(old) | np.isnan(new))
    old, new = np.where(known, old, np.nan), np.where(known, new, np.nan)
    patients = [after.patients[index] for index in both]
    means = [summarise(values, patients).overall for values in (old, new, new - old)]
    return Comparison(*means)


def passes(trained: TrainingRecord, coarse: TrainingRecord | None = None) -> str:
    """Say how many passes over the slices a training made, and how many the one at half the image size before it."""
    made = counted(len(trained.epochs), "pass", "passes")
    return made if coarse is None else f"{made} (after {len(coarse.epochs)} at half the image size)"


def cautions(
    evaluation: Evaluation,
    trained: TrainingRecord,
    *,
    coarse: TrainingRecord | None = None,
    minutes: float,
    fresh: bool = True,
) -> list[str]:
    """Return what should keep a reader from trusting the model, a sentence each; empty where nothing is seen.

    Args:
        evaluation: On held-out cases.
        trained: The record of the training.
        coarse: That of the training at half the image size before it, if there was one.
        minutes: Of the build.
        fresh: Whether the network was trained from its beginning; one that is trained further may be so briefly.
    """
    found = []
    if fresh and len(trained.epochs) + len(coarse.epochs if coarse else ()) < FEW_PASSES:
        found.append(
            f"This model is not to be trusted: it was trained for {passes(trained, coarse)} over the slices, as "
            f"{minutes:g} minutes allow. Build again with more --minutes."
        )
    elif _still_rising(trained):
        found.append("The validation Dice was still rising at the end: more --minutes would make a better model.")
    if not trained.split.validation:
        found.append("No patient was left for validation: the weights are those of the last epoch.")
    if len(set(evaluation.patients)) < FEW_PATIENTS:
        found.append(
            f"Dice is measured on {evaluation.counted} only, held out: another patient may give quite another figure."
        )
    organs = zip(evaluation.labels.names, evaluation.summaries["dice"].organs, strict=True)
    if poor := [name for name, organ in organs if organ.mean is not None and organ.mean < POOR_DICE]:
        found.append(f"Not found reliably (Dice below {POOR_DICE:g}): {', '.join(poor)}.")
    return found


def _still_rising(trained: TrainingRecord) -> bool:
    dice = [row.validation_dice for row in trained.epochs if row.validation_dice is not None]
    quarter = len(dice) // 4
    return quarter > 0 and max(dice[-quarter:]) - max(dice[:-quarter]) > STILL_RISING


def _scored(
    context: BuildContext, model: object, on_case: Callable[..., None]
) -> tuple[Evaluation, Mapping[str, SlicePicture]]:
    patient, threads = context.plan.split.patient, context.threads
    return score_model(str(model), context.data_folder, patient=patient, threads=threads, on_case=on_case, bars=False)


def _counting(context: BuildContext, total: int, before: int) -> Callable[..., None]:
    """Return a function that moves the bar at each call."""
    done = before

    def count(*_: object) -> None:
        nonlocal done
        done += 1
        context.listener.advance(done / max(1, total))

    return count


def _facts(context: BuildContext, manifest: Manifest, training: str, latency_ms: float) -> Sequence[tuple[str, str]]:
    """Return the rows of the page's table on data, network and costs."""
    data_set, split, plan = context.data_set, context.split, context.plan
    patients = len({case.patient for case in data_set.cases})
    channels = ", ".join(data_set.channels)
    structures = ", ".join(data_set.labels.names)
    preprocessing, network = manifest.preprocessing, manifest.network.get("name", "custom")
    budget = "" if plan.latency_ms is None else f"; at most {plan.latency_ms:g} ms were asked for"
    spent = context.record.elapsed / 60
    return [
        (
            "Data",
            f"{data_set.name} ({data_set.layout}): {counted(len(data_set.cases), 'case')} of "
            f"{counted(patients, 'patient')}",
        ),
        ("Images", f"{data_set.modality}; channels: {channels}"),
        ("Structures", structures),
        (
            "Split, by patient",
            f"{len(split.train)} cases train, {len(split.validation)} select the weights, {len(split.test)} held out",
        ),
        (
            "Network",
            f"{network}, {preprocessing.image_size} x {preprocessing.image_size} pixels, "
            f"{counted(preprocessing.context_slices, 'slice')} at a time, {manifest.precision}",
        ),
        ("Training", f"{training}; {spent:.0f} of {plan.minutes:g} minutes before scoring"),
        ("Model file", f"model.onnx, {context.model.stat().st_size / 1e6:.2f} MB"),
        ("Latency", f"{latency_ms:.1f} ms for the network and one image, one thread (ONNX Runtime, median){budget}"),
        ("Computer", describe_machine()),
    ]
