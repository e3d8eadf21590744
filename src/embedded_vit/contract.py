"""What a network expects of a scan, and what its labels mean: preprocessing, labels, postprocessing, ranges."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from embedded_vit.config import Config
from embedded_vit.counted import counted
from embedded_vit.errors import ContractError
from embedded_vit.fingerprint import IntensityFingerprint, fingerprint_mismatches, scan_brightness
from embedded_vit.hounsfield import hounsfield_problems
from embedded_vit.labels import LabelSet
from embedded_vit.plausibility import Plausibility
from embedded_vit.postprocessing import Postprocessing
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.slicing import Orientation
from embedded_vit.volume import LENGTH_ROUNDING, Scan

__all__ = ["Contract", "SpacingRange"]


# DICOM's code of a modality -> how channels of it are called. Their range is measured on each scan, as an MR's is.
CHANNELS_OF_MODALITY = {"PT": "pt|pet", "NM": "nm|spect", "US": "us|ultrasound"}


class SpacingRange(Config):
    """The voxel spacings, in mm, that a network was trained for: lowest and highest."""

    slices_mm: tuple[float, float]
    in_plane_mm: tuple[float, float]


class Contract(Config):
    """What training, export, evaluation and prediction must agree on about a network.

    `RunConfig.contract` and `Manifest.contract` give it; their files keep its parts as keys of their own.
    """

    preprocessing: Preprocessing = Field(description="how a scan becomes the network's input")
    labels: LabelSet = Field(description="the structure that each number of a mask stands for")
    postprocessing: Postprocessing = Field(default=Postprocessing(), description="what becomes of masks")
    spacing_range: SpacingRange | None = Field(default=None, description="None where it is not known")
    intensities: IntensityFingerprint | None = Field(default=None, description="None in older model files")
    plausibility: Plausibility | None = Field(default=None, description="what masks look like; None: not checked")

    @property
    def smallest_shares(self) -> list[float]:
        """The smallest component of each label from 1, as a share of its largest; 0 where all components stay."""
        return self.postprocessing.smallest_shares(self.labels)

    @property
    def orientation(self) -> Orientation:
        """The directions in which slices, rows and columns grow as the network sees them."""
        return self.preprocessing.orientation

    def takes(self, modality: str) -> bool:
        """Whether scans of a modality, as DICOM calls it, are what the channels' names say."""
        named = CHANNELS_OF_MODALITY.get(modality)
        if named is None or self.preprocessing.modality != "MR":
            return modality == self.preprocessing.modality
        pattern = re.compile(rf"({named})([^a-z].*)?", re.IGNORECASE)
        return all(pattern.fullmatch(name.strip()) for name in self.preprocessing.channels)

    def check_channels(self, scan: Scan) -> None:
        """Refuse a scan that has another number of channels; --force does not overrule this.

        Raises:
            ContractError: The numbers of channels differ.
        """
        expected, found = self.preprocessing.channels, scan.channels
        if found != len(expected):
            raise ContractError(
                f"{scan.source}: the scan has {counted(found, 'channel')}, "
                f"this artifact takes {len(expected)}: {', '.join(expected)}; choose another artifact"
            )

    def violations(self, scan: Scan) -> list[str]:
        """Say in what a scan differs from the contract, one sentence each; the list is empty where it fits.

        Args:
            scan: In any orientation, with the contract's channels.
        """
        found = []
        if self.spacing_range is not None and scan.spacing_known:
            found += self._spacing_violations(scan.reoriented(self.orientation), self.spacing_range)
        if self.preprocessing.modality == "CT":
            found += hounsfield_problems(scan, self.preprocessing.channels, orientation=self.orientation)
        if self.preprocessing.modality == "picture" and scan.shape.count(1) == 0:
            found.append(f"a volume of {' x '.join(map(str, scan.shape))}, the artifact is made for pictures")
        return found

    def doubts(self, scan: Scan) -> list[str]:
        """Say what looks unlike the training scans though it violates nothing, one sentence each: channels, contrast.

        Args:
            scan: In any orientation, with the contract's channels.
        """
        if self.intensities is None:
            return []
        found = scan_brightness(scan, self.preprocessing)
        return fingerprint_mismatches(self.intensities, found, self.preprocessing.channels)

    def _spacing_violations(self, upright: Scan, allowed: SpacingRange) -> list[str]:
        between_slices, *in_plane_mm = upright.spacing_mm
        seen_together = between_slices * self.preprocessing.context_step(upright)  # distance of the context slices
        ranges = (("slices", [seen_together], allowed.slices_mm), ("pixels", in_plane_mm, allowed.in_plane_mm))
        return [
            f"{what} lie {_distances(values)} mm apart, the artifact is made for {low:.3g} to {high:.3g} mm"
            for what, values, (low, high) in ranges
            if min(values) < low * (1 - LENGTH_ROUNDING) or max(values) > high * (1 + LENGTH_ROUNDING)
        ]


def _distances(values: Sequence[float]) -> str:
    return " and ".join(f"{value:.3g}" for value in sorted(set(values)))
