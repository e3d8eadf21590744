"""Is a scan what the artifact was made and measured for?"""

from __future__ import annotations

from embedded_vit.artifact.manifest import Manifest, SpacingRange
from embedded_vit.errors import ContractError
from embedded_vit.volume import Scan

__all__ = ["check_channels", "violations"]

# Every CT holds something this dark, fat at least: around it, or air, or what a window clips to. Scans scaled to
# 0..1 or 0..255, shifted by 1024 or divided by their deviation do not.
DARKEST_SOFT_TISSUE_HU = -50.0


def check_channels(volume: Scan, manifest: Manifest) -> None:
    """Refuse a scan whose channels are not the artifact's; no force can overrule that.

    Raises:
        ContractError: The numbers of channels differ.
    """
    expected, found = manifest.preprocessing.channels, volume.channels
    if found != len(expected):
        raise ContractError(
            f"{volume.source}: the scan has {found} channel{'s' if found > 1 else ''}, "
            f"this artifact takes {len(expected)}: {', '.join(expected)}; choose another artifact"
        )


def violations(volume: Scan, manifest: Manifest) -> list[str]:
    """What about a scan is outside an artifact's contract, one sentence each; empty when all is well.

    Args:
        volume: A scan in any orientation, with the artifact's channels.
        manifest: The artifact's contract.
    """
    upright = volume.reoriented(manifest.preprocessing.orientation)
    found = []
    if manifest.spacing_range is not None and volume.spacing_known:
        found += _spacing_violations(
            upright.spacing_mm, manifest.spacing_range, context_step=manifest.preprocessing.context_step(upright)
        )
    if manifest.preprocessing.modality == "CT":
        lowest = volume.lowest_stored() * volume.slope + volume.intercept
        if lowest > DARKEST_SOFT_TISSUE_HU:
            found.append(f"a CT in HU is expected, but nothing here is below {lowest:.4g}: no fat, no air")
    return found


def _spacing_violations(
    spacing_mm: tuple[float, float, float], allowed: SpacingRange, *, context_step: int
) -> list[str]:
    slices_mm, *in_plane_mm = spacing_mm
    found = []
    for what, values, (low, high) in (
        ("slices", [slices_mm * context_step], allowed.slices_mm),  # those that the network sees together
        ("pixels", in_plane_mm, allowed.in_plane_mm),
    ):
        if min(values) < low or max(values) > high:
            distances = " and ".join(f"{value:.3g}" for value in sorted(set(values)))
            found.append(f"{what} lie {distances} mm apart, the artifact is made for {low:.3g} to {high:.3g} mm")
    return found
