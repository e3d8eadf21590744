"""`embedded-vit train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from embedded_vit.cli.options import NetworkOptions


def command(
    *,
    data: Path,
    output: Annotated[Path, Parameter(alias="-o")],
    options: NetworkOptions | None = None,
    model: str | None = None,
    epochs: int = 150,
    coarse_epochs: int = 0,
    recipe: Literal["paper", "modern"] = "modern",
    context_slices: Literal[1, 3] = 1,
    batch_size: int = 24,
    learning_rate: float | None = None,
    cutmix: float | None = None,
    deep_supervision: Annotated[bool, Parameter(negative="")] = False,
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    validation_cases: int | None = None,
    init: Path | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    seed: int = 0,
    device: str = "cpu",
    threads: int | None = None,
) -> None:
    """Train a network on a labelled data set.

    Args:
        data: Data set: TransUNet's layout, a Medical Segmentation Decathlon task, or nnU-Net v2 raw.
        output: Run folder to make.
        model: Your own network, package.module:Class.
        epochs: Passes over the training slices.
        coarse_epochs: Passes at half the image size before them: where time is short, more than their time is worth.
        recipe: The paper's, or the modern one, which segments better in the same time.
        context_slices: Slices that the network sees: 1, or 3 with the neighbours above and below.
        batch_size: Slices a step, over all processes together.
        learning_rate: Peak learning rate; the recipe's own by default.
        cutmix: Part of the slices over which a rectangle of another is put; the recipe's own by default.
        deep_supervision: Let the network's coarser features answer too while it is trained.
        precision: Of the multiplications; weights are always kept in fp32.
        validation_cases: Patients that select the weights; a tenth by default, 0 keeps the last weights.
        init: Weights to begin with: an authors' .pth file or a run folder, pruned or not.
        resume: Go on with the run in --output after its last epoch.
        seed: Of the split, the initial weights and the augmentation.
        device: cpu, cuda, cuda:1, ...
        threads: CPU threads.
    """
    from embedded_vit.training.settings import TrainingConfig
    from embedded_vit.training.train import train

    options = options or NetworkOptions()
    record = train(
        data,
        output,
        network=options.network,
        measures={**options.measures(), "model": model},
        training=TrainingConfig.for_recipe(
            recipe,
            epochs=epochs,
            coarse_epochs=coarse_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            cutmix=cutmix,
            deep_supervision=deep_supervision,
            precision=precision,
            seed=seed,
            init=str(init) if init else None,
        ),
        context_slices=context_slices,
        validation_cases=validation_cases,
        resume=resume,
        device=device,
        threads=threads,
    )
    if record is None:
        return
    last = record.epochs[-1]
    dice = "" if last.validation_dice is None else f", validation Dice {last.validation_dice:.3f}"
    print(
        f"{output}: epoch {last.epoch}, loss {last.loss:.4f}{dice}; kept the weights of epoch {record.selected_epoch}"
    )
