"""The table of the built-in models: how each network is trained, and under which name it is shipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from embedded_vit.builtin.index import DataSource
from embedded_vit.contract import SpacingRange

__all__ = ["MODELS", "TEACHERS_WEIGHT", "TRAININGS", "Model", "Training", "chain_of", "trainings_for"]

BTCV = DataSource(
    name="BTCV abdominal CT, in TransUNet's preprocessing",
    licence="CC BY 4.0",
    licence_address="https://creativecommons.org/licenses/by/4.0/",
    attribution='Landman et al., "Multi-Atlas Labeling Beyond the Cranial Vault", MICCAI 2015, '
    "https://doi.org/10.7303/syn3193805; as prepared by Chen et al., arXiv:2102.04306",
)
HIPPOCAMPUS = DataSource(
    name="Medical Segmentation Decathlon, task 4, hippocampus in MR",
    licence="CC BY-SA 4.0",
    licence_address="https://creativecommons.org/licenses/by-sa/4.0/",
    attribution='Antonelli et al., "The Medical Segmentation Decathlon", Nature Communications 13, 4128 (2022), '
    "https://doi.org/10.1038/s41467-022-30695-9; images of Vanderbilt University Medical Center",
)

# BTCV's slices are 2.5 to 5 mm apart, most of them 3 mm; export's margin of 1.5 is on both sides. TransUNet's files
# store no spacing, so export cannot find it. In the plane a slice is scaled to the network's input whatever its pixel
# size, which may be as large as in the reduced CT of another scanner (docs/log/other-scanners-and-data.md).
BTCV_SPACING = SpacingRange(slices_mm=(2.5 / 1.5, 5 * 1.5), in_plane_mm=(0.6 / 1.5, 3.1))
BTCV_CONTEXT_MM = 3.0
# Its pixels are 0.54 to 0.98 mm, and its scans about 28 cm high or more (the challenge's description).
BTCV_VOXEL_ML = (0.54**2 * 2.5 / 1000, 0.98**2 * 5 / 1000)
BTCV_HEIGHT_MM = 280.0
ABDOMEN_PHANTOMS = 96  # among the cases that say what masks look like


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Attributes:
        source: The training data.
        settings: As `TrainingConfig.for_recipe` takes them.
        network: A preset's name, or None.
        architecture: As `network_config` takes it.
        starts_from: The training whose weights, of the same experiment, are the initial ones; None for fresh weights.
        pruned: How the initial network is pruned first: arguments of `PruneChannels`.
        taught_by: The training whose network is the teacher; only with `starts_from`.
        context_slices: 1 or 3.
        seeds: Number of seeds with which the split is trained.
        folds: Folds of the cross-validation; 0 for none.
        spacing_range: The spacings of the data set, if its files store none.
        context_mm: The distance of its slices in mm, if its files store none.
        voxel_ml: The volumes of its smallest and its largest voxels, likewise.
        height_mm: The height of its lowest scans, likewise.
        phantoms: Phantoms of the abdomen that say, beside its own cases, what masks look like.
    """

    source: DataSource
    settings: Mapping[str, Any]
    network: str | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict)
    starts_from: str | None = None
    pruned: Mapping[str, Any] = field(default_factory=dict)
    taught_by: str | None = None
    context_slices: int = 3
    seeds: int = 1
    folds: int = 0
    spacing_range: SpacingRange | None = None
    context_mm: float | None = None
    voxel_ml: tuple[float, float] | None = None
    height_mm: float | None = None
    phantoms: int = 0


@dataclass(frozen=True)
class Model:
    """A built-in model: a trained network, and how it is compressed.

    Attributes:
        summary: The structures that it segments, in a few words.
        training: The name of its training.
        plan: A compression plan; None exports float32.
        limits: Known failures, one sentence each.
    """

    summary: str
    training: str
    plan: Mapping[str, Any] | None = None
    limits: tuple[str, ...] = ()


MODERN = {"recipe": "modern", "precision": "bf16", "seed": 0}
ONWARDS = MODERN | {"learning_rate": 1e-3, "cutmix": 0.5}
RECOVERY = ONWARDS | {"learning_rate": 1.5e-3}
TEACHERS_WEIGHT = 0.8  # in the loss
HALF = {"steps": [{"quantize": {"precision": "fp16"}}]}
INTEGER = {
    "gate": {"metric": "dice", "keep": 0.99, "worst_organ": 0.02},
    "steps": [{"quantize": {"precision": "int8", "calibration_slices": 64}}],
}
ARTERIAL = "Few training patients are in the arterial phase; case0021 is, and is the worst of the three test patients."
CROPS = "Learned from crops of about 35 x 50 x 35 mm around the hippocampus; whole heads were never shown to it."

abdomen = partial(
    Training,
    BTCV,
    seeds=3,
    folds=5,
    spacing_range=BTCV_SPACING,
    context_mm=BTCV_CONTEXT_MM,
    voxel_ml=BTCV_VOXEL_ML,
    height_mm=BTCV_HEIGHT_MM,
    phantoms=ABDOMEN_PHANTOMS,
)
HYBRID = {"family": "hybrid", "widths": (16, 24, 64, 128), "depth": 2, "hidden_ratio": 2, "stem_stride": 2}
NARROW = {"widths": (32, 80), "depth": 1, "convolution_widths": (12, 24)}
TRAININGS: dict[str, Training] = {
    "abdomen-128": abdomen(MODERN | {"epochs": 120, "cutmix": 0.0}, architecture=NARROW | {"image_size": 128}),
    "abdomen-192": abdomen(
        ONWARDS | {"epochs": 60},
        architecture=NARROW | {"image_size": 192},
        starts_from="abdomen-128",
    ),
    "abdomen-192-pruned": abdomen(
        RECOVERY | {"epochs": 40},
        architecture=NARROW | {"image_size": 192},
        starts_from="abdomen-192",
        pruned={"target_macs": 0.75},
        taught_by="abdomen-192",
    ),
    "abdomen-hybrid-64": abdomen(
        MODERN | {"precision": "fp32", "epochs": 60, "cutmix": 0.0},
        architecture=HYBRID | {"image_size": 64},
    ),
    "abdomen-hybrid-112": abdomen(
        MODERN | {"precision": "fp32", "epochs": 120, "cutmix": 0.0, "deep_supervision": True},
        architecture=HYBRID | {"image_size": 112},
        starts_from="abdomen-hybrid-64",
    ),
    "abdomen-hybrid-192": abdomen(
        ONWARDS | {"precision": "fp32", "epochs": 40, "deep_supervision": True},
        architecture=HYBRID | {"image_size": 192},
        starts_from="abdomen-hybrid-112",
    ),
    "hippocampus-64": Training(HIPPOCAMPUS, MODERN | {"epochs": 12, "cutmix": 0.0}, "embedded-vit-64"),
}
ORGANS = "8 abdominal organs on CT"
MODELS: dict[str, Model] = {
    "abdomen-ct": Model(ORGANS, "abdomen-hybrid-192", HALF, limits=(ARTERIAL,)),
    "abdomen-ct-int8": Model(f"{ORGANS}, int8", "abdomen-hybrid-192", INTEGER, limits=(ARTERIAL,)),
    "abdomen-ct-large": Model(f"{ORGANS}, most accurate", "abdomen-192-pruned", HALF, limits=(ARTERIAL,)),
    "abdomen-ct-fast": Model(f"{ORGANS}, fastest", "abdomen-hybrid-112", HALF, limits=(ARTERIAL,)),
    "hippocampus-mr": Model("2 parts of the hippocampus on cropped MR", "hippocampus-64", HALF, limits=(CROPS,)),
}


def chain_of(training: str) -> list[str]:
    """Return the names of a training and of all that it starts from, the first one first."""
    before = TRAININGS[training].starts_from
    return [*(chain_of(before) if before else []), training]


def trainings_for(training: str) -> list[str]:
    """Return the names of a training and of all that it starts from or is taught by, each after those it needs."""
    entry = TRAININGS[training]
    needed = [name for before in (entry.starts_from, entry.taught_by) if before for name in trainings_for(before)]
    return list(dict.fromkeys([*needed, training]))
