"""Makes a build plan from a data set: every decision in turn, each with its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from embedded_vit.counted import counted
from embedded_vit.datasets.data_set import DataSet, Split, make_split
from embedded_vit.datasets.patients import with_patients
from embedded_vit.errors import ConfigError
from embedded_vit.models.registry import network_config
from embedded_vit.planning.build_plan import BuildPlan, SplitPlan
from embedded_vit.planning.decision import Decision
from embedded_vit.planning.fingerprint import Fingerprint, fingerprint_of
from embedded_vit.planning.geometry import choose_field_of_view, choose_mirror, choose_orientation, choose_plane
from embedded_vit.planning.intensities import choose_intensities
from embedded_vit.planning.pace import Pace, measured_latency_ms, measured_pace
from embedded_vit.planning.schedule import (
    Epochs,
    Workload,
    architecture_of,
    choose_batch_size,
    choose_epochs,
    choose_size,
)
from embedded_vit.planning.trial import measured_dice
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.slicing import PLANES, Orientation, across_slices
from embedded_vit.training.settings import RunConfig, TrainingConfig

__all__ = ["Clocks", "Plane", "plan_for"]

CONTEXT_SLICES = 3
MEASURED_SIZES = (64, 128)  # on which the pace of this computer is measured
PRUNING = "embedded-cpu"  # where no size is fast enough
TRIAL_SHARE = 0.1  # of the minutes, for the training in each plane
Plane = Literal["axial", "coronal", "sagittal", "measured"]
MeasurePace = Callable[[RunConfig, RunConfig], Pace]


@dataclass(frozen=True)
class Clocks:
    """What is measured on this computer; a test puts others in their place."""

    pace: MeasurePace = measured_pace
    latency_ms: Callable[[RunConfig], float] = field(default=measured_latency_ms)
    dice: Callable[[DataSet, BuildPlan], float | None] = measured_dice


def plan_for(
    data_set: DataSet,
    *,
    latency_ms: float | None = None,
    minutes: float = 60.0,
    patient: str | None = None,
    structures: Sequence[str] | None = None,
    plane: Plane | None = None,
    seed: int = 0,
    device: str = "cpu",
    clocks: Clocks | None = None,
    on_case: Callable[[str], None] = lambda name: None,
    on_trial: Callable[[str], None] = lambda plane: None,
) -> BuildPlan:
    """Decide how a network for a data set is built.

    Only cases that train or select the weights are looked at.

    Args:
        data_set: Of any layout.
        latency_ms: The most that a slice may take on this computer, in milliseconds; None for no limit.
        minutes: For the whole build, on this computer.
        patient: A pattern of the cases' names, as `with_patients` takes it.
        structures: Those that the data set was opened with; the plan repeats them. None: all that its folder has.
        plane: In which scans are cut into slices; "measured" trains in each for a tenth of the minutes. None: as the
            spacing says.
        seed: Of the split, the initial weights and the augmentation.
        device: Where the network is trained.
        clocks: What is measured on this computer.
        on_case: Called after each case that was read.
        on_trial: Called before the training in a plane, with its name.

    Raises:
        DataSetError: The data set cannot be planned.
        FileFormatError: A case cannot be read.
        ConfigError: The pattern is not a regular expression, or pictures are to be cut in a plane.
    """
    if plane is not None and data_set.modality == "picture":
        raise ConfigError(f"--plane {plane}: {data_set.folder} holds pictures, which are slices already; leave it out")
    data_set = with_patients(data_set, patient)
    split = make_split(data_set, seed=seed)
    fingerprint = fingerprint_of(data_set, sorted(split.train + split.validation), on_case=on_case)
    measured = clocks or Clocks(pace=partial(measured_pace, device=device), dice=partial(measured_dice, device=device))
    planner = _Planner(
        *(fingerprint, split, minutes, latency_ms, seed, measured),
        patient=patient,
        structures=None if structures is None else tuple(structures),
    )
    if plane == "measured":
        planner = planner.in_the_best_plane(on_trial)
    elif plane is not None:
        codes = next(codes for codes, name in PLANES.items() if name == plane)
        planner = replace(planner, orientation=Decision(codes, f"{plane} slices, as was asked for"))
    return planner.plan()


@dataclass(frozen=True)
class _Planner:
    """Makes the decisions of one plan, each from those before it."""

    fingerprint: Fingerprint
    split: Split
    minutes: float
    latency_ms: float | None
    seed: int
    clocks: Clocks
    patient: str | None = None
    structures: tuple[str, ...] | None = None
    orientation: Decision[Orientation] | None = None
    spent: float = 0.0  # of the minutes

    def in_the_best_plane(self, on_trial: Callable[[str], None]) -> _Planner:
        """Train in each plane for a while, and return the planner that cuts scans in the best one."""
        spent = 0.0

        def dice_of(codes: Orientation) -> float | None:
            nonlocal spent
            on_trial(PLANES[codes])
            spent += TRIAL_SHARE * self.minutes
            plan = replace(self, orientation=Decision(codes, ""), minutes=TRIAL_SHARE * self.minutes).plan()
            return self.clocks.dice(self.fingerprint.data_set, plan)

        orientation = choose_plane(self.fingerprint, choose_orientation(self.fingerprint), dice_of)
        return replace(self, orientation=orientation, spent=spent)

    def plan(self) -> BuildPlan:
        """Decide everything."""
        found = self.fingerprint
        orientation = self.orientation or choose_orientation(found)
        intensities, mirror = choose_intensities(found), choose_mirror(found)
        seen = choose_field_of_view(found, orientation.value)
        context = _choose_context(found, orientation.value)
        scan = {
            **intensities.value,
            **seen.value,
            "orientation": orientation.value,
            "context_slices": context.value,
        }
        if context.value > 1 and found.spacing_known:
            scan["context_mm"] = _rounded(found.median_spacing()[across_slices(orientation.value)])
        workload = Workload.of(
            *(found, self.split.train, orientation.value),
            minutes=self.minutes - self.spent,
            empty_slice_weight=self._training(24).empty_slice_weight,
            all_cases=len(found.data_set.cases),
        )
        batch = choose_batch_size(workload)
        describe = partial(self._run_config, scan=scan, batch_size=batch.value, mirror=mirror.value)
        pace = self.clocks.pace(*(describe(size) for size in MEASURED_SIZES))
        size = choose_size(
            *(found, orientation.value, seen.value, workload),
            batch_size=batch.value,
            pace=pace,
            latency_ms=self.latency_ms,
            latency_of=lambda size: self.clocks.latency_ms(describe(size)),
        )
        epochs = choose_epochs(size.value, workload, batch_size=batch.value, pace=pace)
        compression = self._compression(size)
        config = describe(size.value, epochs=epochs.value)
        reasons = {
            "patients": _patients_reason(found.data_set, self.split),
            "intensities": intensities.reason,
            "orientation": orientation.reason,
            "field_of_view": seen.reason,
            "context_slices": context.reason,
            "mirror": mirror.reason,
            "image_size": size.reason,
            "network": f"{config.network.name}: {NETWORK_REASON}",
            "batch_size": batch.reason,
            "epochs": epochs.reason,
            "recipe": RECIPE_REASON,
            "compression": compression.reason,
        }
        return BuildPlan(
            preprocessing=config.preprocessing,
            network=config.network,
            training=config.training,
            mirror=mirror.value,
            split=SplitPlan(seed=self.seed, patient=self.patient),
            structures=self.structures,
            compression=compression.value,
            latency_ms=self.latency_ms,
            minutes=self.minutes,
            reasons=reasons,
        )

    def _training(self, batch_size: int, epochs: Epochs | None = None) -> TrainingConfig:
        epochs = epochs or Epochs(0, 1)
        return TrainingConfig.for_recipe(
            "modern",
            batch_size=batch_size,
            epochs=epochs.full,
            coarse_epochs=epochs.coarse,
            cutmix=0.0,
            deep_supervision=True,
            seed=self.seed,
        )

    def _run_config(
        self, size: int, *, scan: Mapping[str, Any], batch_size: int, mirror: bool, epochs: Epochs | None = None
    ) -> RunConfig:
        """Return the run that the decisions describe, at an image size."""
        data_set = self.fingerprint.data_set
        channels = len(data_set.channels) * scan["context_slices"]
        name, architecture = architecture_of(size)
        network = network_config(
            name, classes=data_set.labels.classes, in_channels=channels if channels > 1 else 3, **architecture
        )
        preprocessing = Preprocessing.for_modality(
            data_set.modality,
            channels=data_set.channels,
            image_size=size,
            output_stride=network.output_stride,
            **scan,
        )
        labels = data_set.labels.model_copy(update={"mirror": mirror})
        return RunConfig(
            network=network, preprocessing=preprocessing, labels=labels, training=self._training(batch_size, epochs)
        )

    def _compression(self, size: Decision[int]) -> Decision[str | None]:
        if self.latency_ms is None:
            return Decision(None, "none: no latency is asked for; `embedded-vit compress` makes the network smaller")
        if "still too slow" in size.reason:
            return Decision(PRUNING, f"{PRUNING}: the smallest network is too slow as it is")
        return Decision(None, "none: the network is fast enough as it is")


NETWORK_REASON = "no attention, which gained nothing; at 128 pixels 2 to 9 points above a U-Net 1.4 times as slow"
RECIPE_REASON = (
    "modern, without CutMix and with deep supervision, from coarse to fine: measured best in short trainings"
)


def _choose_context(fingerprint: Fingerprint, orientation: Orientation) -> Decision[int]:
    """Show the network the slices above and below, where scans have some."""
    if min(case.slices(orientation) for case in fingerprint.figures) < CONTEXT_SLICES:
        return Decision(1, "one slice at a time: some scans have no more")
    return Decision(CONTEXT_SLICES, "three slices at a time: 2 points of Dice on abdominal CT")


def _rounded(length: float) -> float:
    return float(f"{length:.4g}")


def _patients_reason(data_set: DataSet, split: Split) -> str:
    counts = {subset: len({case.patient for case in data_set.cases if case.name in names})
              for subset, names in split.model_dump(exclude={"seed"}).items()}  # fmt: skip
    patients = len({case.patient for case in data_set.cases})
    return (
        f"{counted(len(data_set.cases), 'case')} of {counted(patients, 'patient')}: {counts['train']} train, "
        f"{counts['validation']} select "
        f"the weights, {counts['test']} test"
    )
