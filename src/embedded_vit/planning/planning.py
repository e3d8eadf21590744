"""Makes a build plan from a data set: every decision in turn, each with its reason."""

from __future__ import annotations

from embedded_vit.datasets.data_set import DataSet
from embedded_vit.datasets.patients import with_patients
from embedded_vit.planning.build_plan import BuildPlan, SplitPlan
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.training import plan

__all__ = ["plan_for"]


def plan_for(
    data_set: DataSet,
    *,
    latency_ms: float | None = None,
    minutes: float = 60.0,
    patient: str | None = None,
    seed: int = 0,
) -> BuildPlan:
    """Decide how a network for a data set is built.

    Args:
        data_set: Of any layout.
        latency_ms: The most that a slice may take on this computer, in milliseconds; None for no limit.
        minutes: For the whole build, on this computer.
        patient: A pattern of the cases' names, as `with_patients` takes it.
        seed: Of the split, the initial weights and the augmentation.

    Raises:
        DataSetError: The data set cannot be planned.
        ConfigError: The pattern is not a regular expression.
    """
    data_set = with_patients(data_set, patient)
    training = TrainingConfig.for_recipe("modern", epochs=40, coarse_epochs=60, cutmix=0.0, seed=seed)
    config = plan(data_set, network="hybrid-s", architecture={}, training=training, context_slices=3)
    return BuildPlan(
        preprocessing=config.preprocessing,
        network=config.network,
        training=config.training,
        mirror=data_set.labels.mirror,
        split=SplitPlan(seed=seed, patient=patient),
        latency_ms=latency_ms,
        minutes=minutes,
        reasons={"network": "hybrid-s: the preset that suits most data sets"},
    )
