"""`report.html` of an evaluation: one file without scripts that loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from embedded_vit.about import RESEARCH_USE_ONLY
from embedded_vit.evaluation.box_plot import box_plot
from embedded_vit.evaluation.brats import BRATS_RULE, LESION_RULE, brats_estimates, lesion_estimates
from embedded_vit.evaluation.charts import chart_address
from embedded_vit.evaluation.pictures import SlicePicture, png_data_uri
from embedded_vit.evaluation.protocol import METRICS, NSD_TOLERANCE
from embedded_vit.evaluation.results import Evaluation
from embedded_vit.evaluation.statistics import Estimate
from embedded_vit.overlay import overlay
from embedded_vit.printable import printable

__all__ = ["METRIC_TITLES", "REPORT_TEMPLATE", "page_environment", "render_report"]

REPORT_TEMPLATE = "evaluation/report.html.j2"
METRIC_TITLES = {"dice": "Dice", "jaccard": "Jaccard", "hd95": "HD95", "nsd": "NSD"}


def render_report(
    evaluation: Evaluation, pictures: Mapping[str, SlicePicture], *, template: str = REPORT_TEMPLATE, **values: Any
) -> str:
    """Render the report of an evaluation.

    Args:
        evaluation: All scores.
        pictures: Slices to show, by name ("Best", "Median", "Worst").
        template: A template that extends `REPORT_TEMPLATE`, by its path in the package.
        **values: What that template needs besides.

    Returns:
        A complete HTML document.
    """
    return (
        page_environment()
        .get_template(template)
        .render(
            evaluation=evaluation,
            organs=[_organ_row(evaluation, index) for index in range(len(evaluation.labels.labels))],
            overall={metric: evaluation.summaries[metric].overall for metric in METRICS},
            metrics=METRICS,
            titles=_titles(evaluation.unit),
            counts=evaluation.counts(),
            regions=[
                {"name": name, "estimates": estimates, "counts": evaluation.region_counts(index)}
                for index, (name, estimates) in enumerate(evaluation.regions.items())
            ],
            brats={BRATS_RULE: brats_estimates(evaluation), LESION_RULE: lesion_estimates(evaluation)},
            plots=_plots(evaluation),
            panels=[_panel(name, picture, evaluation) for name, picture in pictures.items()],
            tolerance=f"{NSD_TOLERANCE:g} {evaluation.unit}",
            research_use_only=RESEARCH_USE_ONLY,
            **values,
        )
    )


def page_environment() -> Environment:
    """Return the environment of our pages: templates by path in the package, unknown names an error.

    Values are escaped as HTML wants it, and control characters in text as on the terminal.
    """
    environment = Environment(
        loader=PackageLoader("embedded_vit", "."),
        autoescape=True,
        finalize=_without_controls,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["interval"] = _interval
    return environment


def _without_controls(value: Any) -> Any:
    """Make text printable; what a macro made is text of ours."""
    return printable(value) if isinstance(value, (str, Path)) and not isinstance(value, Markup) else value


def _titles(unit: str) -> dict[str, str]:
    return {**METRIC_TITLES, "hd95": f"HD95 ({unit})"}


def _organ_row(evaluation: Evaluation, index: int) -> dict[str, Any]:
    label = evaluation.labels.labels[index]
    estimates = {metric: evaluation.summaries[metric].organs[index] for metric in METRICS}
    return {"name": label.name, "colour": label.colour, "estimates": estimates, "counts": evaluation.counts(index)}


def _plots(evaluation: Evaluation) -> dict[str, str]:
    """Return the box plots by title, each an address that holds its PNG."""
    names, colours = evaluation.labels.names, tuple(label.colour for label in evaluation.labels.labels)
    cases = tuple(case.name for case in evaluation.cases)
    titles = _titles(evaluation.unit)
    figures = {
        titles["dice"]: box_plot(evaluation.values("dice"), names, colours, cases, highest=1.0),
        titles["hd95"]: box_plot(evaluation.values("hd95"), names, colours, cases),
    }
    return {title: chart_address(figure) for title, figure in figures.items()}


def _panel(name: str, picture: SlicePicture, evaluation: Evaluation) -> dict[str, Any]:
    height, width = picture.seen.shape[:2]
    return {
        "name": name,
        "case": picture.case,
        "slice": picture.index + 1,
        "dice": picture.dice,
        "aspect": f"1 / {picture.height_to_width:.4f}",
        "pixelated": max(height, width) < 200,
        "images": {
            "Image": png_data_uri(picture.seen),
            "Truth": png_data_uri(overlay(picture.seen, picture.truth, evaluation.labels)),
            "Prediction": png_data_uri(overlay(picture.seen, picture.prediction, evaluation.labels)),
        },
    }


def _number(value: float | None, metric: str) -> str:
    """Write a share with three decimals, a length with one, and None as a dash."""
    if value is None:
        return "–"
    return f"{value:.1f}" if metric == "hd95" else f"{value:.3f}"


def _interval(estimate: Estimate, metric: str) -> str:
    if estimate.low is None:
        return ""
    return f"{_number(estimate.low, metric)} – {_number(estimate.high, metric)}"
