"""`embedded-vit info`."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

from embedded_vit.cli.options import Flag, NetworkOptions
from embedded_vit.cli.showing import show, show_text
from embedded_vit.counted import counted

if TYPE_CHECKING:
    from embedded_vit.models.registry import NetworkConfig


def command(
    model: str | None = None,
    /,
    *,
    options: NetworkOptions | None = None,
    classes: int = 9,
    input_channels: int = 1,
    json: Flag = False,
) -> None:
    """Show what a model file expects, finds and costs, or a network's architecture and costs.

    Args:
        model: Run folder, model file, or the name of a built-in model. Without it, the options describe a network.
        classes: Number of classes, background included.
        input_channels: Channels of the image: 1 for a grey image, 3 for three context slices.
        json: Print the whole manifest of a model file as JSON.
    """
    from embedded_vit.builtin.resolve import model_path

    path = None if model is None else model_path(model)
    if path is not None and path.is_file():
        _print_model_file(path, whole=json)
        return
    from embedded_vit.costs.complexity import complexity
    from embedded_vit.models.registry import network_config
    from embedded_vit.training.checkpoint import read_run_config

    if path is not None:
        run = read_run_config(path)
        config, input_channels = run.network, run.preprocessing.input_channels
    else:
        options = options or NetworkOptions()
        config = network_config(
            options.network, classes=classes, in_channels=max(3, input_channels), **options.architecture()
        )
    costs = complexity(config, input_channels=input_channels)
    size = config.image_size
    output_size = size // config.output_stride
    show(f"{config.name}: {input_channels} x {size} x {size} -> {config.classes} x {output_size} x {output_size}")
    for line in _architecture(config):
        show(f"  {line}")
    show(f"  parameters            {costs.parameters:>16,}")
    if costs.published_parameters is not None:
        dead = costs.published_parameters - costs.parameters
        show(
            f"    as published        {costs.published_parameters:>16,}  {_less(dead, costs.published_parameters)} dead"
        )
    show(f"  multiply-accumulates  {costs.macs:>16,}")
    if costs.naive_macs is not None:
        saved = costs.naive_macs - costs.macs
        show(f"    as published        {costs.naive_macs:>16,}  {_less(saved, costs.naive_macs)} saved by folding")


def _architecture(config: NetworkConfig) -> list[str]:
    """Describe a network's layers, a line each."""
    from embedded_vit.models.registry import source_changed

    kept = config.kept_channels
    pruned = [f"pruned, {counted(sum(kept.values()), 'channel')} left in {len(kept)} of its groups"] if kept else []
    if config.model is not None:
        options = [f"{name} {value}" for name, value in config.options.items()]
        changed = ["the file that defines it has changed since"] if source_changed(config) else []
        return [", ".join(["your own class", *options]), *changed, *pruned]
    transformer = f"depth {config.depth}, hidden ratio {config.hidden_ratio}"
    kinds = {
        "dual": f"{transformer}, {config.mixing} mixing",
        "hybrid": f"{transformer if config.depth else 'no token blocks'}, stem stride {config.stem_stride}",
        "unet": "plain U-Net",
    }
    around = config.convolution_widths
    convolutions = [f"between convolutions of {around} channels at full and half resolution"] if around else []
    return [f"widths {config.widths}, {kinds[config.family]}", *convolutions, *pruned]


def _print_model_file(path: Path, *, whole: bool) -> None:
    """Print the table of a model file, or its whole manifest."""
    from embedded_vit.engines import load

    manifest = load(path).manifest
    if whole:
        show_text(dumps(manifest.model_dump(mode="json"), indent=1))  # names as JSON escapes them
        return
    from embedded_vit.costs.model_facts import model_facts

    show_text(model_facts(path, manifest))


def _less(part: int, whole: int) -> str:
    """Return a part of a whole in percent."""
    return f"{100 * part / whole:.1f} %"
