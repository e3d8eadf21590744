"""Both steppers take the same steps: operation by operation, and as one function of tensors for a CUDA graph."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training_bench import CONVOLUTIONS, HYBRID, TOKENS, Workbench

from embedded_vit.errors import ConfigError, TrainingError
from embedded_vit.models.registry import build_network
from embedded_vit.training.distillation import Distillation, Teacher
from embedded_vit.training.eager_stepper import EagerStepper
from embedded_vit.training.learner import Learner
from embedded_vit.training.processes import Processes
from embedded_vit.training.recorded_stepper import RecordedStepper
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.slices import SliceSet

UNRECORDED = partial(RecordedStepper, record=False, seeded_noise=True)

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="recording a CUDA graph needs a CUDA GPU")


def assert_equal(
    ours: tuple[dict[str, Tensor], list[float]], theirs: tuple[dict[str, Tensor], list[float]], *, tolerance: float
) -> None:
    assert ours[1] == pytest.approx(theirs[1], rel=tolerance)
    for name, value in ours[0].items():
        torch.testing.assert_close(value, theirs[0][name], rtol=0, atol=tolerance, msg=lambda text, at=name: at + text)


class SeenImages:
    """The images that a network was given, step by step, so that a second training can be given the very same ones.

    The steppers' augmentations round differently where there is no AVX-512, and then weights are 1e-4 apart after two
    epochs (docs/log/gpu-trainings.md).
    """

    def __init__(self) -> None:
        self.images: list[Tensor] = []

    def kept(self, learner: Learner, slices: SliceSet, processes: Processes) -> EagerStepper:
        """An eager stepper whose images are kept."""

        def keep(_: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
            self.images.append(inputs[0].clone())

        learner.network.register_forward_pre_hook(keep)
        return EagerStepper(learner, slices, processes)

    def given_again(self, learner: Learner, slices: SliceSet, processes: Processes) -> RecordedStepper:
        """An unrecorded stepper; its own images have to be those that were kept, but for rounding."""
        seen = iter(self.images)

        def give(_: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            image = next(seen)
            torch.testing.assert_close(inputs[0], image, rtol=0, atol=1e-6)
            return (image, *inputs[1:])

        learner.network.register_forward_pre_hook(give)
        return UNRECORDED(learner, slices, processes)


@pytest.mark.parametrize(
    ("architecture", "context_slices", "training"),
    [
        (TOKENS, 1, {}),
        (CONVOLUTIONS, 3, {}),
        (CONVOLUTIONS, 3, {"cutmix": 0.0, "precision": "bf16"}),
        (HYBRID, 3, {}),
        (HYBRID, 3, {"deep_supervision": True}),
    ],
    ids=["tokens", "convolutions", "bf16", "hybrid", "deep supervision"],
)
def test_two_epochs_give_the_same_weights(
    bench: Workbench, tmp_path: Path, architecture: dict[str, Any], context_slices: int, training: dict[str, Any]
) -> None:
    config = bench.planned(architecture, context_slices=context_slices, **training)
    seen = SeenImages()
    eager = bench.trained(config, tmp_path / "eager", make_stepper=seen.kept)
    unrecorded = bench.trained(config, tmp_path / "unrecorded", make_stepper=seen.given_again)
    assert_equal(unrecorded, eager, tolerance=1e-5)


def test_teachers_of_other_sizes_and_contexts_teach_alike(bench: Workbench, tmp_path: Path) -> None:
    config = bench.planned(cutmix=0.5)
    theirs = bench.planned({**TOKENS, "image_size": 48}, context_slices=1)

    def distillation() -> Distillation:
        torch.manual_seed(1)
        larger, alike = build_network(theirs.network), build_network(config.network)
        return Distillation([Teacher(larger, bench.slices(theirs), 1), Teacher(alike)], 0.8)

    eager = bench.trained(config, tmp_path / "eager", make_stepper=partial(EagerStepper, hooks=[distillation()]))
    unrecorded = partial(UNRECORDED, distillation=distillation())
    assert_equal(bench.trained(config, tmp_path / "unrecorded", make_stepper=unrecorded), eager, tolerance=1e-5)
    alone = bench.trained(config, tmp_path / "alone")
    assert alone[1] != pytest.approx(eager[1], rel=1e-2)


def test_a_run_may_change_its_stepper_between_two_epochs(bench: Workbench, tmp_path: Path) -> None:
    config = bench.planned()
    eager = bench.trained(config, tmp_path / "eager")

    class StopsAfterOne(EagerStepper):
        epochs = 0

        def train(self, drawn: Any) -> Any:
            if StopsAfterOne.epochs:
                raise KeyboardInterrupt
            StopsAfterOne.epochs += 1
            return super().train(drawn)

    with pytest.raises(KeyboardInterrupt):
        bench.trained(config, tmp_path / "both", make_stepper=StopsAfterOne)
    assert_equal(bench.trained(config, tmp_path / "both", make_stepper=UNRECORDED), eager, tolerance=1e-5)


def test_a_loss_that_is_not_finite_names_the_cases(bench: Workbench, tmp_path: Path) -> None:
    config = bench.planned(learning_rate=1e30, gradient_clip=None, epochs=4)
    with pytest.raises(TrainingError, match=r"epoch \d.*case000"):
        bench.trained(config, tmp_path / "run", make_stepper=UNRECORDED)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"recipe": "paper"}, "the recipe paper"),
        ({"precision": "fp16"}, "the precision fp16"),
    ],
)
def test_what_cannot_be_recorded_is_refused_by_name(bench: Workbench, change: dict[str, Any], named: str) -> None:
    plain = bench.planned()
    training = TrainingConfig.for_recipe(**{"recipe": "modern", "batch_size": 8, **change})
    config = plain.model_copy(update={"training": training})
    with pytest.raises(ConfigError, match=f"do not support {named}"):
        RecordedStepper(Learner(build_network(config.network), config), bench.slices(config), Processes())
    with pytest.raises(ConfigError, match="several processes"):
        RecordedStepper(Learner(build_network(plain.network), plain), bench.slices(plain), Processes(0, 2))


@needs_cuda
@pytest.mark.parametrize("seeded_noise", [True, False])
def test_recorded_steps_train_as_eager_ones(bench: Workbench, tmp_path: Path, seeded_noise: bool) -> None:
    config = bench.planned(epochs=3)
    eager = bench.trained(config, tmp_path / "eager", device="cuda")
    stepper = partial(RecordedStepper, seeded_noise=seeded_noise)
    recorded = bench.trained(config, tmp_path / "recorded", make_stepper=stepper, device="cuda")
    assert recorded[1] == pytest.approx(eager[1], rel=1e-3 if seeded_noise else 5e-2)
