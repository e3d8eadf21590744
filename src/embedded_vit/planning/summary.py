"""A build plan in plain lines, as `embedded-vit plan` prints it."""

from __future__ import annotations

from embedded_vit.columns import in_columns
from embedded_vit.datasets.data_set import DataSet
from embedded_vit.planning.build_plan import BuildPlan

__all__ = ["plan_text"]


def plan_text(plan: BuildPlan, data_set: DataSet) -> str:
    """Return what a data set is, and what will be done with it, a line for each decision."""
    names = ", ".join(data_set.labels.names)
    budget = "no limit" if plan.latency_ms is None else f"{plan.latency_ms:g} ms per slice"
    rows = [
        ("layout", data_set.layout or "of its own"),
        ("scans", f"{data_set.modality}: {', '.join(data_set.channels)}"),
        ("structures", f"{len(data_set.labels.labels)}: {names}"),
        ("budget", f"{budget}, {plan.minutes:g} minutes on this computer"),
        *((name.replace("_", " "), reason) for name, reason in plan.reasons.items()),
    ]
    return "\n".join([data_set.name, *(f"  {line}" for line in in_columns(rows))])
