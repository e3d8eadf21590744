"""`embedded-vit build`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from embedded_vit.cli.options import Names, OutputAlias
from embedded_vit.cli.showing import show


def command(
    *,
    data: Path,
    output: Annotated[Path, OutputAlias],
    budget: str | None = None,
    minutes: float | None = None,
    patient: str | None = None,
    structures: Names | None = None,
    plane: Literal["axial", "coronal", "sagittal", "measured"] | None = None,
    init: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> None:
    """Build a model file from a labelled data set: plan, train, compress, export, score. No other option is needed.

    A build that was stopped goes on with the same command. Every decision stands in build-plan.yaml in --output, and
    may be changed there before the training begins.

    Args:
        data: Labelled data set in any layout that `embedded-vit data` knows.
        output: Folder to make, with model.onnx and report.html in it.
        budget: Most that a slice may take on this computer, for example latency_ms=5.
        minutes: Time for everything, in minutes; 60 by default.
        patient: Pattern of the cases' names, for example 'patient[0-9]+'; what it matches is the patient, whose cases
            stay together.
        structures: Structures to learn, by their names; the others become background. All by default.
        plane: How scans are cut into slices: axial, coronal, sagittal; or measured: a network is trained in each plane
            for a tenth of the minutes. By default as their spacing says.
        init: Run folder, model file or built-in model whose network is trained further on these cases.
        device: Device to train on: cpu, cuda, cuda:1, ...
        threads: CPU threads; all cores by default.
    """
    from embedded_vit.build.building import build
    from embedded_vit.build.listener import BuildBar
    from embedded_vit.builtin.resolve import model_path
    from embedded_vit.planning.build_plan import read_budget

    with BuildBar() as bar:
        model = build(
            data,
            output,
            latency_ms=None if budget is None else read_budget(budget),
            minutes=minutes,
            patient=patient,
            structures=structures,
            plane=plane,
            init=None if init is None else model_path(init),
            device=device,
            threads=threads,
            listener=bar,
        )
    show(f"{model}: done; {output / 'report.html'} says how good it is")
