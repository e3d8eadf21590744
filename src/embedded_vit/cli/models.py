"""`embedded-vit models`."""

from __future__ import annotations

from embedded_vit.cli.options import Flag
from embedded_vit.cli.showing import show_text


def command(
    name: str | None = None,
    /,
    *,
    latency: Flag = False,
    threads: int | None = None,
) -> None:
    """List the built-in models, or show the card of one: accuracy, contract, known failures.

    Args:
        name: Built-in model whose card is shown.
        latency: Also measure the latency of one image on this computer, in ms, with ONNX Runtime.
        threads: Cores to measure latency on; all cores by default.
    """
    from embedded_vit.builtin.card import card, list_text
    from embedded_vit.builtin.index import builtin_model, builtin_models

    models = builtin_models() if name is None else [builtin_model(name)]
    measured = None
    if latency:
        from embedded_vit.builtin.latency import latency_here

        measured = latency_here(models, threads=threads)
    if name is None:
        show_text(list_text(models, measured))
    else:
        show_text(card(models[0], measured))
