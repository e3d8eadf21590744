"""`embedded-vit train`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from embedded_vit.cli.options import Flag, Names, NetworkOptions, OutputAlias
from embedded_vit.cli.showing import show

if TYPE_CHECKING:
    from embedded_vit.training.settings import TrainingConfig

DEFAULT_NETWORK = "conv-s"  # docs/planning.md says why


@Parameter(name="*")
@dataclass
class TrainingOptions:
    """How a network is trained, as `TrainingConfig.for_recipe` takes it.

    Attributes:
        recipe: Training recipe: paper is the published one; modern segments better after the same time.
        epochs: Passes over the training slices.
        coarse_epochs: Additional epochs before them at half the image size, which cost a quarter of the time each. By
            default as many as --epochs from 128 pixels on, and 0 for --recipe paper, --model and --init.
        batch_size: Slices per step, over all processes together.
        learning_rate: Peak learning rate; by default the recipe's own.
        cutmix: Fraction of the slices, from 0 to 1, that get a rectangle of another slice; by default the recipe's own.
        deep_supervision: Also train the coarser feature maps to segment.
        precision: Number format of the multiplications; weights stay in fp32.
        seed: Seed of the split, the initial weights and the augmentation.
        init: Weights to start from: a run folder, pruned or not, or a published .pth file.
    """

    recipe: Literal["paper", "modern"] = "modern"
    epochs: int = 150
    coarse_epochs: int | None = None
    batch_size: int = 24
    learning_rate: float | None = None
    cutmix: float | None = None
    deep_supervision: Flag = False
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = 0
    init: Path | None = None

    def config(self) -> TrainingConfig:
        """Return the settings; where `coarse_epochs` is not given, without any."""
        from embedded_vit.training.settings import TrainingConfig

        return TrainingConfig.for_recipe(**asdict(self) | {"init": None if self.init is None else str(self.init)})


def command(
    *,
    data: Path,
    output: Annotated[Path, OutputAlias],
    options: NetworkOptions | None = None,
    model: str | None = None,
    model_options: Names | None = None,
    context_slices: Literal[1, 3] | None = None,
    structures: Names | None = None,
    patient: str | None = None,
    training: TrainingOptions | None = None,
    validation_cases: int | None = None,
    resume: Flag = False,
    device: str = "cpu",
    threads: int | None = None,
) -> None:
    """Train a network on a labelled data set; conv-s unless another one is described.

    Args:
        data: Labelled data set in any layout of docs/data.md, for example of nnU-Net, or images/ and masks/.
        output: Run folder to make.
        model: Your own network as package.module:Class, in place of --network.
        model_options: Further arguments of your class as name=value, for example width=32.
        context_slices: Slices that the network sees at a time; by default 3, with the neighbours above and below, and
            1 for pictures, --recipe paper, --model and --init.
        structures: Structures to learn, by their names; the others become background. All by default.
        patient: Pattern of the names of cases; what it matches is the patient, for example 'patient\\d+'.
        validation_cases: Number of patients that select the weights; a tenth of the patients by default. 0 keeps the
            weights of the last epoch.
        resume: Resume the training in --output after its last complete epoch.
        device: Device to train on: cpu, cuda, cuda:1, ...
        threads: CPU threads; all cores by default.
    """
    from embedded_vit.models.own_class import read_options
    from embedded_vit.training.training import train

    options, training = options or NetworkOptions(), training or TrainingOptions()
    record = train(
        data,
        output,
        network=_name(options, described=model is not None or training.init is not None),
        architecture={**options.architecture(), "model": model, "options": read_options(model_options or ()) or None},
        training=training.config(),
        context_slices=context_slices,
        choose_coarse=training.coarse_epochs is None,
        structures=structures,
        patient=patient,
        validation_cases=validation_cases,
        resume=resume,
        device=device,
        threads=threads,
    )
    if record is None:
        return
    last = record.epochs[-1]
    dice = "" if last.validation_dice is None else f", validation Dice {last.validation_dice:.3f}"
    show(f"{output}: epoch {last.epoch}, loss {last.loss:.4f}{dice}; kept the weights of epoch {record.selected_epoch}")


def _name(options: NetworkOptions, *, described: bool) -> str | None:
    """Return the name of the network: the default one where nothing says which, or only how large its image is."""
    given = (options.network, options.family, options.widths)
    return DEFAULT_NETWORK if given == (None, None, None) and not described else options.network
