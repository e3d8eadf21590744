"""`embedded-vit models`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


def command(
    name: str | None = None,
    /,
    *,
    latency: Annotated[bool, Parameter(negative="")] = False,
    threads: int | None = None,
) -> None:
    """List the models that come with the package, or show the card of one.

    Args:
        name: A built-in model.
        latency: Also measure how long one image takes on this computer, in ONNX Runtime, the models in turns.
        threads: Cores to measure on; all by default.
    """
    from embedded_vit.builtin.card import card, list_text
    from embedded_vit.builtin.index import builtin_model, builtin_models

    models = builtin_models() if name is None else [builtin_model(name)]
    measured = None
    if latency:
        from embedded_vit.builtin.latency import latency_here

        measured = latency_here(models, threads=threads)
    if name is None:
        print(list_text(models, measured))
    else:
        print(card(models[0], measured), end="")
