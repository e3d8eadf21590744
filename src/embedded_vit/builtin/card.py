"""The built-in models as text: the list of all, and the card of one in Markdown, which docs/models/ holds too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from embedded_vit.about import RESEARCH_USE_ONLY
from embedded_vit.artifact.manifest import Manifest
from embedded_vit.builtin.index import BuiltinModel, Figures, TrainingStage
from embedded_vit.columns import in_columns, padded
from embedded_vit.counted import counted

if TYPE_CHECKING:
    from embedded_vit.builtin.latency import LatencyHere
    from embedded_vit.preprocessing import Modality

__all__ = ["card", "list_text"]

INTENSITIES: dict[Modality, str] = {
    "CT": "in HU",
    "MR": "in any unit (each volume is scaled by its own range)",
    "picture": "of 8 or 16 bits (PNG, JPEG, TIFF, BMP)",
}
WHAT_DICE_IS = (
    "Dice: mean over that many held-out patients, of networks trained the same way. Compare figures of the",
    "same patients only: the models' cards say how each was tested, and list every structure.",
)
NONE_SHIPPED = "no built-in models: none comes with this version; train one with `embedded-vit train`"


def list_text(models: Sequence[BuiltinModel], latency: LatencyHere | None = None) -> str:
    """Return one row per model for the terminal, with a column of latencies where they were measured."""
    if not models:
        return NONE_SHIPPED
    header = ["model", "what", "pixels", "precision", "MB", "Dice", "patients", "worst organ", "licence"]
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
            str(first.patients),
            f"{organ} {dice:.2f}",
            model.facts.source.licence,
        ]
        rows.append(row + ([] if latency is None else [f"{latency.median_ms[model.name]:.2f}"]))
    lines = in_columns(rows)
    lines += ["", *WHAT_DICE_IS]
    if latency is not None:
        lines.append(f"ms here: median milliseconds of one image, measured now, the models in turns; {latency.where}.")
    lines.append(f"`embedded-vit models NAME` shows a model's card. {RESEARCH_USE_ONLY}")
    return "\n".join(lines)


def card(model: BuiltinModel, latency: LatencyHere | None = None) -> str:
    """Return what a user must know of a model before trusting its masks, as Markdown."""
    manifest, facts = model.manifest, model.facts
    structures = ", ".join(f"{label.id} {label.name}" for label in manifest.labels.labels)
    sections = [
        f"# {model.name}",
        f"{facts.summary}. {RESEARCH_USE_ONLY}",
        f"    embedded-vit predict {model.name} SCAN.nii.gz -o MASK.nii.gz",
        f"The numbers in the mask: {structures}.",
        _file_line(model, latency),
        f"## Contract\n\n{_contract(manifest)}",
        f"## Accuracy\n\n{_accuracy_preface(manifest)}",
        *(_figures_section(figures) for figures in facts.figures),
        f"## Known failures\n\n{_failures(model)}",
        f"## Data and licence\n\nTrained on {facts.source.name}. The weights are under {facts.source.licence} "
        f"({facts.source.licence_address}), the licence of the data. If you pass them on, name the source.\n\n"
        f"{facts.source.attribution}",
        f"## How to reproduce\n\n    python -m factory.builtin_models {model.name} --data DATA --output FOLDER\n\n"
        f"{_training_text(model)}",
    ]
    return "\n\n".join(sections) + "\n"


def _file_line(model: BuiltinModel, latency: LatencyHere | None) -> str:
    manifest = model.manifest
    size, slices = manifest.preprocessing.image_size, manifest.preprocessing.context_slices
    seen = "one slice" if slices == 1 else f"{slices} neighbouring slices"
    here = "" if latency is None else f" Here: {latency.median_ms[model.name]:.2f} ms per image ({latency.where})."
    return (
        f"File: {model.file_bytes / 1e6:.2f} MB, {manifest.precision}. Network: {_network(manifest.network)}. "
        f"Input: {seen} of {size} x {size} pixels.{here}"
    )


def _network(described: Mapping[str, Any]) -> str:
    """Return a preset's name, or the architecture as far as the manifest states it."""
    name = described.get("name", "custom")
    if name == "custom" and described.get("widths"):
        kind = {"hybrid": "hybrid, ", "unet": "plain U-Net, "}.get(described.get("family", ""), "")
        name = f"{kind}widths {_listed(described['widths'])}"
        if described.get("convolution_widths"):
            name += f", convolutions of {_listed(described['convolution_widths'])} channels"
    return f"{name}, pruned" if described.get("kept_channels") else name


def _listed(numbers: Sequence[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}" if first else last


def _contract(manifest: Manifest) -> str:
    preprocessing, allowed = manifest.preprocessing, manifest.spacing_range
    channels = "" if len(preprocessing.channels) == 1 else f" ({', '.join(preprocessing.channels)})"
    intensities = INTENSITIES[preprocessing.modality]
    spacing = "Any spacing, because the training data state none."
    if allowed is not None:
        thinner = ""
        if preprocessing.context_mm is not None:
            thinner = f" (in thinner ones the network sees neighbours about {preprocessing.context_mm:g} mm apart)"
        spacing = (
            f"Slices {_range(allowed.slices_mm)} mm apart{thinner}, pixels of {_range(allowed.in_plane_mm)} mm. "
            "Any other scan is refused with exit status 3; `--force` overrides, and the JSON file records it."
        )
    return f"{preprocessing.modality}{channels} {intensities}, in any orientation. {spacing}"


def _range(low_high: tuple[float, float]) -> str:
    return f"{low_high[0]:.3g} to {low_high[1]:.3g}"


def _accuracy_preface(manifest: Manifest) -> str:
    return (
        f"The weights in the file were trained on all {len(manifest.split['train'])} patients, so no patient is left "
        "to test them on. The figures are those of networks trained the same way without the tested patients, measured "
        "with the strict protocol from exported files of the same precision."
    )


def _figures_section(figures: Figures) -> str:
    interval = ""
    if figures.dice_interval is not None:
        interval = f" (95 % interval {figures.dice_interval[0]:.3f} to {figures.dice_interval[1]:.3f})"
    seeds = ""
    if figures.dice_of_other_seeds:
        seeds = f"With other seeds: {', '.join(f'{dice:.3f}' for dice in figures.dice_of_other_seeds)}. "
    organ, dice = figures.worst_organ
    rows = [("structure", "Dice", "patients", "missed", "false positive")]
    rows += [
        (name, "-" if of.dice is None else f"{of.dice:.3f}", str(of.scored), str(of.missed), str(of.hallucinated))
        for name, of in figures.organs.items()
    ]
    return (
        f"### {figures.experiment}\n\n"
        f"Mean Dice {figures.dice:.3f}{interval}, NSD (2 {figures.unit}) {figures.nsd:.3f}, "
        f"HD95 {figures.hd95:.1f} {figures.unit}, over {counted(figures.patients, 'patient')}. {seeds}"
        f"Worst organ: {organ}, {dice:.3f}. "
        f"Worst patient: {figures.worst_patient}, {figures.worst_patient_dice:.3f}.\n\n"
        f"{_markdown_table(rows)}"
    )


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a padded table, which reads as plain text too."""
    header, *others = padded(rows)
    lines = [f"| {' | '.join(row)} |" for row in (header, *others)]
    return "\n".join([lines[0], f"|{'|'.join('-' * (len(cell) + 2) for cell in header)}|", *lines[1:]])


def _failures(model: BuiltinModel) -> str:
    """Return the known limits, then the worst structures of single patients."""
    sentences = list(model.facts.limits)
    first = model.facts.figures[0]
    for failure in first.failures:
        how = f"Dice {failure.dice:.2f}"
        if failure.kind != "poor":
            how = "missed" if failure.kind == "missed" else "false positive, the patient has none"
        sentences.append(f"{failure.patient}, {failure.organ}: {how}.")
    if not sentences:
        sentences = ["No structure of a tested patient was missed, a false positive, or below a Dice of 0.5."]
    pictures = (
        "Pictures of failures would show patients and are not published. To draw them from your own copy of the data: "
        f"`python -m factory.model_cards {model.name} --pictures DIR --data DATA --experiments FOLDER`."
    )
    return "\n".join(f"- {sentence}" for sentence in sentences) + f"\n\n{pictures}"


def _training_text(model: BuiltinModel) -> str:
    training, manifest = model.facts.training, model.manifest
    steps = [_stage(stage) for stage in training.stages]
    if manifest.compression is not None:
        steps.append("compressed by the compression plan in the manifest")
    numbered = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1))
    return (
        f"The shipped weights were trained on {len(manifest.split['train'])} patients, recipe {manifest.recipe}, "
        f"{training.precision}, seed {training.seed}, in these steps:\n\n{numbered}\n\n"
        f"They took {training.minutes:.0f} minutes in all on {training.machine}. "
        "The figures above take one more training for each experiment or fold."
    )


def _stage(stage: TrainingStage) -> str:
    pruned = "" if stage.pruned_to is None else f"pruned to {stage.pruned_to * 100:.0f} % of its MACs, then "
    taught = "" if stage.taught_by is None else f" with {stage.taught_by} as teacher"
    return f"{stage.name}: {pruned}{stage.epochs} {'epoch' if stage.epochs == 1 else 'epochs'}{taught}"
