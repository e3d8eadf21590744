"""`embedded-vit search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def command(
    *,
    data: Path,
    budget: str,
    output: Annotated[Path, Parameter(alias="-o")],
    trials: int = 30,
    epochs: int = 20,
    image_sizes: Annotated[list[int] | None, Parameter(consume_multiple=True, negative="")] = None,
    context_slices: Literal[1, 3] | None = None,
    inherit: bool = True,
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    validation_cases: int | None = None,
    engine: Literal["onnxruntime", "openvino", "litert"] = "onnxruntime",
    threads: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> None:
    """Search the network that segments best within a budget: candidates are measured, then trained briefly.

    Args:
        data: Data set: TransUNet's layout, a Medical Segmentation Decathlon task, or nnU-Net v2 raw.
        budget: What the network may cost at most: latency_ms=5, macs=2e8 or parameters=1e6.
        output: Folder of the search; the same command goes on with it, also in several processes at once.
        trials: Candidates, those included that cost too much to be trained.
        epochs: Of each short training.
        image_sizes: Sides of the input to choose from, pixels; 64 96 128 160 192 224 by default.
        context_slices: Slices that the network sees; 1 and 3 are both tried by default.
        inherit: Begin trainings with the weights of the most similar network trained before.
        precision: Of the multiplications in training.
        validation_cases: Patients that select; a tenth by default. With several a choice is worth more.
        engine: What computes when latency is measured.
        threads: Cores to train on and to measure latency on; all by default.
        seed: Of the split, the initial weights and the choice of candidates.
        device: Where to train: cpu, cuda, cuda:1, ...
    """
    import sys

    from embedded_vit.provenance import available_cores
    from embedded_vit.search.record import outcome_text
    from embedded_vit.search.search import search
    from embedded_vit.search.space import CONTEXT_SLICES, IMAGE_SIZES, Budget, SearchSettings

    record = search(
        data,
        output,
        settings=SearchSettings.parse(
            {
                "budget": Budget.read(budget),
                "image_sizes": image_sizes or IMAGE_SIZES,
                "context_slices": (context_slices,) if context_slices else CONTEXT_SLICES,
                "epochs": epochs,
                "inherit": inherit,
                "precision": precision,
                "validation_cases": validation_cases,
                "engine": engine,
                "threads": threads or available_cores(),
                "seed": seed,
            },
            source="search settings",
        ),
        trials=trials,
        device=device,
        on_event=lambda event: print(event, file=sys.stderr, flush=True),
    )
    print(outcome_text(record, output))
