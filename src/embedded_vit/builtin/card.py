"""The built-in models as text: the list of all of them, and the card of one, which is Markdown and docs/models/ too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from embedded_vit.about import RESEARCH_USE_ONLY
from embedded_vit.artifact.manifest import Manifest
from embedded_vit.builtin.index import BuiltinModel, Figures, TrainingStage

if TYPE_CHECKING:
    from embedded_vit.builtin.latency import LatencyHere

__all__ = ["card", "list_text"]

NONE_SHIPPED = "no built-in models: none comes with this version; train one with `embedded-vit train`"


def list_text(models: Sequence[BuiltinModel], latency: LatencyHere | None = None) -> str:
    """One row a model, for the terminal; with a column of latencies where they were measured."""
    if not models:
        return NONE_SHIPPED
    header = ["model", "what", "pixels", "precision", "MB", "Dice", "worst organ", "licence"]
    rows = [header + ([] if latency is None else ["ms here"])]
    for model in models:
        preprocessing, first = model.manifest.preprocessing, model.facts.figures[0]
        organ, dice = first.worst_organ
        row = [
            model.name,
            model.facts.summary,
            str(preprocessing.image_size),
            model.manifest.precision,
            f"{model.file_bytes / 1e6:.2f}",
            f"{first.dice:.3f}",
            f"{organ} {dice:.2f}",
            model.facts.source.licence,
        ]
        rows.append(row + ([] if latency is None else [f"{latency.median_ms[model.name]:.2f}"]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += ["", "Dice: of networks trained in the same way, on patients that they were not shown."]
    if latency is not None:
        lines.append(f"ms here: the median of one image, measured now, the models in turns; {latency.where}.")
    lines.append(f"`embedded-vit models NAME` shows a model's card. {RESEARCH_USE_ONLY}")
    return "\n".join(lines)


def card(model: BuiltinModel, latency: LatencyHere | None = None) -> str:
    """All that a user must know of a model before its masks mean anything: Markdown."""
    manifest, facts = model.manifest, model.facts
    structures = ", ".join(f"{label.id} {label.name}" for label in manifest.labels.labels)
    sections = [
        f"# {model.name}",
        f"{facts.summary}. {RESEARCH_USE_ONLY}",
        f"    embedded-vit predict {model.name} SCAN.nii.gz -o MASK.nii.gz",
        f"The numbers of the mask: {structures}.",
        _file_line(model, latency),
        f"## Contract\n\n{_contract(manifest)}",
        f"## Figures\n\n{_figures_preface(manifest)}",
        *(_figures_section(figures) for figures in facts.figures),
        f"## Known failures\n\n{_failures(model)}",
        f"## Data and licence\n\nTrained on {facts.source.name}. The weights are under {facts.source.licence} "
        f"({facts.source.licence_address}), as the data are: who passes them on names the source.\n\n"
        f"{facts.source.attribution}",
        f"## How to reproduce\n\n    python benchmarks/builtin_models.py {model.name} --data DATA --output FOLDER\n\n"
        f"{_training_line(model)}",
    ]
    return "\n\n".join(sections) + "\n"


def _file_line(model: BuiltinModel, latency: LatencyHere | None) -> str:
    manifest = model.manifest
    size, slices = manifest.preprocessing.image_size, manifest.preprocessing.context_slices
    sees = "one slice at a time" if slices == 1 else f"{slices} neighbouring slices at a time"
    here = "" if latency is None else f" Here {latency.median_ms[model.name]:.2f} ms an image ({latency.where})."
    return (
        f"{model.file_bytes / 1e6:.2f} MB, {manifest.precision}, network {_network(manifest.network)}; "
        f"sees {sees}, {size} x {size} pixels.{here}"
    )


def _network(described: Mapping[str, Any]) -> str:
    """A preset's name, or what the network is made of, as far as the manifest tells."""
    name = described.get("name", "custom")
    if name == "custom" and described.get("widths"):
        name = f"of widths {' and '.join(map(str, described['widths']))}"
        if described.get("convolution_widths"):
            name += f" between convolutions of {' and '.join(map(str, described['convolution_widths']))}"
    return f"{name}, pruned" if described.get("kept_channels") else name


def _contract(manifest: Manifest) -> str:
    preprocessing, allowed = manifest.preprocessing, manifest.spacing_range
    channels = "" if len(preprocessing.channels) == 1 else f" ({', '.join(preprocessing.channels)})"
    intensities = (
        "in HU" if preprocessing.modality == "CT" else "in any unit, as every volume is scaled by its own range"
    )
    spacing = "No limit on spacing, as the training data carry none."
    if allowed is not None:
        thinner = ""
        if preprocessing.context_mm is not None:
            thinner = f" (of thinner ones it sees those about {preprocessing.context_mm:g} mm apart)"
        spacing = (
            f"Slices {_range(allowed.slices_mm)} mm apart{thinner}, pixels of {_range(allowed.in_plane_mm)} mm. "
            "What lies outside is refused with exit status 3 (`--force` overrides and is recorded)."
        )
    return f"{preprocessing.modality}{channels} {intensities}, in any orientation. {spacing}"


def _range(low_high: tuple[float, float]) -> str:
    return f"{low_high[0]:.3g} to {low_high[1]:.3g}"


def _figures_preface(manifest: Manifest) -> str:
    return (
        f"The weights in the file learned from all {len(manifest.split['train'])} patients, so nothing is left to test "
        "them on. The figures are those of networks trained in the same way, on patients that they were not shown: "
        "strict protocol, from exported files of this precision."
    )


def _figures_section(figures: Figures) -> str:
    interval = ""
    if figures.dice_interval is not None:
        interval = f" (95 % interval {figures.dice_interval[0]:.3f} to {figures.dice_interval[1]:.3f})"
    seeds = ""
    if figures.dice_of_other_seeds:
        seeds = f"With other seeds: {', '.join(f'{dice:.3f}' for dice in figures.dice_of_other_seeds)}. "
    organ, dice = figures.worst_organ
    rows = [("structure", "Dice", "patients", "missed", "invented")]
    rows += [
        (name, "-" if of.dice is None else f"{of.dice:.3f}", str(of.scored), str(of.missed), str(of.hallucinated))
        for name, of in figures.organs.items()
    ]
    return (
        f"### {figures.experiment}\n\n"
        f"Mean Dice {figures.dice:.3f}{interval}, NSD (2 {figures.unit}) {figures.nsd:.3f}, "
        f"HD95 {figures.hd95:.1f} {figures.unit}, over {figures.patients} patients. {seeds}"
        f"Worst organ: {organ}, {dice:.3f}. "
        f"Worst patient: {figures.worst_patient}, {figures.worst_patient_dice:.3f}.\n\n"
        f"{_markdown_table(rows)}"
    )


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Padded, so that it can be read as plain text as well."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _failures(model: BuiltinModel) -> str:
    """What is known in words, then the worst structures of single patients."""
    sentences = list(model.facts.limits)
    first = model.facts.figures[0]
    for failure in first.failures:
        how = f"Dice {failure.dice:.2f}"
        if failure.kind != "poor":
            how = "missed altogether" if failure.kind == "missed" else "invented, the patient has none"
        sentences.append(f"{failure.patient}, {failure.organ}: {how}.")
    if not sentences:
        sentences = ["No structure of a tested patient was missed, invented, or below a Dice of 0.5."]
    pictures = (
        "Pictures would be pictures of patients and are not part of this project; on your copy of the data "
        f"`python benchmarks/model_cards.py {model.name} --pictures DIR --data DATA --experiments FOLDER` draws them."
    )
    return "\n".join(f"- {sentence}" for sentence in sentences) + f"\n\n{pictures}"


def _training_line(model: BuiltinModel) -> str:
    training, manifest = model.facts.training, model.manifest
    compressed = "" if manifest.compression is None else ", then compressed by the recipe in its manifest"
    stages = ", then ".join(map(_stage, training.stages))
    return (
        f"The shipped weights: {len(manifest.split['train'])} patients, recipe {manifest.recipe}, {stages}, "
        f"{training.precision}, seed {training.seed}{compressed}; "
        f"{training.minutes:.0f} minutes in all on {training.machine}. "
        "The figures take one training more for each experiment or fold."
    )


def _stage(stage: TrainingStage) -> str:
    pruned = "" if stage.pruned_to is None else f"pruned to {stage.pruned_to * 100:.0f} % of its operations and "
    taught = "" if stage.taught_by is None else f" taught by {stage.taught_by}"
    return f"{pruned}{stage.epochs} epochs{taught} as {stage.name}"
