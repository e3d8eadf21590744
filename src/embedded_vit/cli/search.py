"""`embedded-vit search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from embedded_vit.cli.options import EngineOption, Integers, OutputAlias
from embedded_vit.cli.showing import show_text, tell

if TYPE_CHECKING:
    from embedded_vit.search.space import SearchSettings


def command(
    *,
    data: Path,
    budget: str,
    output: Annotated[Path, OutputAlias],
    trials: int = 30,
    storage: str | None = None,
    epochs: int = 20,
    family: Literal["fast", "hybrid", "dual", "unet"] = "fast",
    space: str | None = None,
    image_sizes: Integers | None = None,
    context_slices: Literal[1, 3] | None = None,
    inherit: bool = True,
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    validation_cases: int | None = None,
    engine: EngineOption = "onnxruntime",
    threads: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> None:
    """Search the network that segments best within a budget of latency, MACs or parameters.

    Candidates are measured first; those within the budget are trained briefly. The same command resumes a search.

    Args:
        data: Labelled data set: Medical Segmentation Decathlon task, nnU-Net data set, or TransUNet's layout.
        budget: Most that the network may cost: latency_ms=5, macs=2e8 or parameters=1e6.
        output: Folder of the search. Several processes may work on one search.
        trials: Number of candidates, including those over the budget, which are not trained.
        storage: PostgreSQL data base for the trials of many machines, as postgresql://USER@HOST/DATABASE; its password
            in the variable PGPASSWORD. By default the trials lie in --output.
        epochs: Epochs of each short training.
        family: Family of networks to search in: fast, both of the next two; hybrid, made for low latency; unet, plain
            U-Nets; or dual, the paper's.
        space: Your own search space as package.module:function, in place of --family. The function takes an Optuna
            trial and returns an architecture, for example {"model": "mine:Class", "options": {"width": 32}}.
        image_sizes: Sides of the input to choose from, in pixels; 64 96 128 160 192 224 by default.
        context_slices: Slices that the network sees at a time; 1 and 3 are both tried by default.
        inherit: Start each training from the weights of the most similar network trained before.
        precision: Number format of the multiplications in training; weights stay in fp32.
        validation_cases: Number of patients that score the candidates; a tenth of the patients by default.
        threads: Cores to train on and to measure latency on; all cores by default.
        seed: Seed of the split, the initial weights and the choice of candidates.
        device: Device to train on: cpu, cuda, cuda:1, ...
    """
    from embedded_vit.search.record import outcome_text
    from embedded_vit.search.searching import search

    training = {"epochs": epochs, "inherit": inherit, "precision": precision, "validation_cases": validation_cases}
    others = {"family": family, "space": space, "engine": engine, "seed": seed, **training}
    record = search(
        data,
        output,
        settings=_settings(budget, image_sizes, context_slices, threads=threads, **others),
        trials=trials,
        storage=storage,
        device=device,
        on_event=tell,
    )
    show_text(outcome_text(record, output))


def _settings(
    budget: str, image_sizes: list[int] | None, context_slices: int | None, *, threads: int | None, **others: Any
) -> SearchSettings:
    """Validate the options; fill in what is not given."""
    from embedded_vit.provenance import available_cores
    from embedded_vit.search.space import CONTEXT_SLICES, IMAGE_SIZES, Budget, SearchSettings

    values = {
        "budget": Budget.read(budget),
        "image_sizes": image_sizes or IMAGE_SIZES,
        "context_slices": (context_slices,) if context_slices else CONTEXT_SLICES,
        "threads": threads or available_cores(),
    }
    return SearchSettings.parse(values | others, source="search settings")
