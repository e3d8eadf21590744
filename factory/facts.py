"""The facts about a built-in model that its manifest does not hold: NAME.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedded_vit.artifact.manifest import read_artifact
from embedded_vit.builtin.index import Facts, Figures, TrainingFacts, TrainingStage
from embedded_vit.compression.record import read_compression_record
from embedded_vit.datasets.data_set import Split
from embedded_vit.errors import ConfigError
from embedded_vit.training.checkpoint import read_record, read_run_config
from factory import table
from factory.experiments import ALL, SPLIT
from factory.figures import pooled_figures
from factory.folders import ModelFolders
from factory.records import metrics_of

__all__ = ["facts_of", "figures_of"]


def facts_of(folders: ModelFolders, splits: Mapping[str, Split]) -> Facts:
    """Gather the content of NAME.json from the table and from the folders.

    Args:
        folders: The model's folders, with the experiment `all` complete.
        splits: As `experiments_of` gives them.

    Raises:
        ConfigError: No experiment was evaluated.
    """
    records = {name: read_record(folders.run(ALL, name)) for name in table.trainings_for(folders.model.training)}
    seconds = sum(epoch.seconds for record in records.values() for epoch in record.epochs)
    if folders.model.plan is not None:
        seconds += sum(stage.seconds for stage in read_compression_record(folders.compression(ALL)).stages)
    config = read_run_config(folders.run(ALL))
    _, manifest = read_artifact(folders.artifact(ALL))
    return Facts(
        summary=folders.model.summary,
        graph_sha256=manifest.graph_sha256,
        figures=figures_of(folders, splits),
        limits=folders.model.limits,
        training=TrainingFacts(
            stages=tuple(
                TrainingStage(
                    name=name,
                    epochs=len(records[name].epochs),
                    pruned_to=table.TRAININGS[name].pruned.get("target_macs"),
                    taught_by=table.TRAININGS[name].taught_by,
                )
                for name in table.chain_of(folders.model.training)
            ),
            seed=config.training.seed,
            precision=config.training.precision,
            minutes=round(seconds / 60, 1),
            machine=" and ".join(dict.fromkeys(record.machine for record in records.values())),
        ),
        source=folders.training.source,
    )


def figures_of(folders: ModelFolders, splits: Mapping[str, Split]) -> tuple[Figures, ...]:
    """Return the figures of the cross-validation, over all folds that were evaluated, then those of the split.

    Raises:
        ConfigError: Neither was evaluated.
    """
    folds = [name for name in splits if name.startswith("fold-")]
    validated, tested = _metrics(folders, folds), _metrics(folders, [SPLIT])
    repeated = _metrics(folders, [name for name in splits if name.startswith(f"{SPLIT}-")])
    everyone, split = len(splits[ALL].train), splits[SPLIT]
    found = []
    if validated:
        which = f"{len(folds)} folds, {everyone} patients"
        if len(validated) < len(folds):
            patients = sum(len(metrics["cases"]) for metrics in validated)
            which = f"{len(validated)} of {len(folds)} folds, {patients} of {everyone} patients"
        found.append(pooled_figures(validated, f"Cross-validation, {which}"))
    if tested:
        figures = pooled_figures(tested, f"{len(split.train)} patients trained, {len(split.test)} tested")
        others = tuple(float(metrics["mean"]["dice"]) for metrics in repeated)
        found.append(figures.model_copy(update={"dice_of_other_seeds": others}))
    if not found:
        raise ConfigError(
            f"{folders.name}: nothing was evaluated, so it has no figures; run the experiment {SPLIT} too"
        )
    return tuple(found)


def _metrics(folders: ModelFolders, experiments: Sequence[str]) -> list[dict[str, Any]]:
    """Return what `metrics.json` says of all experiments that were evaluated."""
    found = (metrics_of(folders, experiment) for experiment in experiments)
    return [metrics for metrics in found if metrics is not None]
