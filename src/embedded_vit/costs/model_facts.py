"""A model file in a short table: what it expects of a scan, what it finds, and what it costs."""

from __future__ import annotations

from pathlib import Path

from embedded_vit.artifact.manifest import Manifest
from embedded_vit.columns import in_columns
from embedded_vit.costs.graph_macs import count_macs
from embedded_vit.printable import printable_text

__all__ = ["model_facts"]


def model_facts(path: Path, manifest: Manifest) -> str:
    """Return the table as text; the MACs are counted in the file's own graph.

    Args:
        path: The model file.
        manifest: Its manifest.

    Raises:
        FileFormatError: ONNX Runtime cannot run the graph.
    """
    preprocessing = manifest.preprocessing
    size, given = preprocessing.image_size, preprocessing.input_channels
    macs = count_macs(path.read_bytes(), source=str(path))
    dice = (manifest.metrics or {}).get("validation_dice")
    measured = "not measured on validation cases" if dice is None else f"{dice:.3f} on validation cases, network's grid"
    rows = [
        ("scan", f"{preprocessing.modality}: {', '.join(preprocessing.channels)}; {_intensities(manifest)}"),
        ("spacing", _spacing(manifest)),
        ("structures", f"{len(manifest.labels.labels)}: {', '.join(manifest.labels.names)}"),
        ("network", f"{manifest.network.get('name', 'of your own')}, {given} x {size} x {size} pixels per slice"),
        ("precision", manifest.precision),
        ("MACs", f"{macs / 1e6:,.1f} M a slice"),
        ("file", f"{path.stat().st_size / 1e6:.2f} MB"),
        ("Dice", measured),
        ("made", f"{manifest.created[:10]} by embedded-vit {manifest.code_version}"),
        ("graph", manifest.graph_sha256[:12]),
        ("use", manifest.use),
    ]
    return printable_text([manifest.name, *(f"  {line}" for line in in_columns(rows))])


def _intensities(manifest: Manifest) -> str:
    preprocessing = manifest.preprocessing
    if preprocessing.window_hu is not None:
        low, high = preprocessing.window_hu
        return f"HU, window {low:g} to {high:g}"
    if preprocessing.modality == "picture" and preprocessing.ranges is not None:
        return "from black to the white of each file's bit depth"
    low, high = preprocessing.percentiles or (0.0, 100.0)
    return f"range of each channel from its {low:g} to its {high:g} % quantile"


def _spacing(manifest: Manifest) -> str:
    allowed = manifest.spacing_range
    if allowed is None:
        return "any (none in the training data)"
    slices, pixels = (f"{low:.2g} to {high:.2g} mm" for low, high in (allowed.slices_mm, allowed.in_plane_mm))
    return f"slices {slices}, pixels {pixels}"
