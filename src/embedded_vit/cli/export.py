"""`embedded-vit export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from embedded_vit.cli.options import Flag, OutputAlias
from embedded_vit.cli.showing import show
from embedded_vit.counted import counted


def command(
    run: Path,
    /,
    *,
    output: Annotated[Path, OutputAlias],
    data: Path | None = None,
    name: str | None = None,
    test_vectors: Path | None = None,
    html: Path | None = None,
    dynamic_batch: Flag = False,
    overwrite: Flag = False,
) -> None:
    """Write a trained network to one .onnx file, checked against PyTorch on real slices.

    Args:
        run: Run folder of a training.
        output: Model file to write (.onnx).
        data: Labelled data set whose slices the file is checked on; by default the one of the training.
        name: Name of the model, which stands beside every mask; by default that of the data set and of the run folder.
        test_vectors: New folder for one scan at every stage, to check another implementation of docs/contract.md.
        html: Also write one HTML file that segments scans in a browser; see `embedded-vit page`.
        dynamic_batch: Let the graph take any number of images at a time instead of one.
        overwrite: Replace the file if it exists.
    """
    if html is not None:
        from embedded_vit.page import check_page

        check_page(html, overwrite=overwrite)
    from embedded_vit.export.exporting import export

    report = export(
        run,
        output,
        data_folder=data,
        name=name,
        test_vectors=test_vectors,
        dynamic_batch=dynamic_batch,
        overwrite=overwrite,
    )
    agreement, manifest = report.agreement, report.manifest
    show(f"{report.path}: {manifest.name}, {report.size_bytes / 1e6:.2f} MB, graph {manifest.graph_sha256[:12]}")
    show(
        f"checked against PyTorch on {counted(agreement.images, 'image')} ({report.checked_on}): "
        f"logits differ by at most {agreement.max_logit_difference:.1e}, "
        f"the label of {agreement.label_disagreement:.4%} of pixels differs"
    )
    if report.vectors_of is not None:
        show(f"{test_vectors}: test vectors of case {report.vectors_of}; keep them with the scans")
    if html is not None:
        from embedded_vit.cli.page import make_page

        make_page(report.path, html, overwrite=overwrite)
