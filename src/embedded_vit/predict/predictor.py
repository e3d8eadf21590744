"""A scan in, a mask and the organs' volumes out: what `embedded_vit.load` gives."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from typing_extensions import Self

from embedded_vit.about import RESEARCH_USE_ONLY, __version__
from embedded_vit.artifact.manifest import Manifest
from embedded_vit.engines import ArtifactEngine, EngineChoice, load
from embedded_vit.errors import ContractError, FileFormatError, OutputError
from embedded_vit.io.atomic import refuse_existing, write_text
from embedded_vit.io.dicom import DicomSeries, find_series
from embedded_vit.io.digest import sha256_of
from embedded_vit.io.nifti import (
    NiftiGeometry,
    announced_bytes,
    is_nifti,
    read_geometry,
    read_volume,
    spool_volume,
    write_labels,
)
from embedded_vit.io.transunet import announced_h5_bytes, is_h5_volume, read_h5_volume, spool_h5_volume
from embedded_vit.labels import LabelSet
from embedded_vit.predict.memory import free_bytes, room_below
from embedded_vit.predict.segmentation import map_ahead, segment
from embedded_vit.provenance import available_cores
from embedded_vit.volume import Mask, Scan, Volume

__all__ = ["Prediction", "Predictor", "is_scan", "read_scan", "structure_volumes", "summary_path"]

ORIENTATION_WARNING = "the file does not say where the patient's left is (qform and sform codes are 0): check the sides"

Progress = Callable[[int, int], None]  # slices done, slices in all
Source = Volume | DicomSeries | Path  # of a scan; a path is a file


@dataclass(frozen=True, eq=False)
class Prediction:
    """A mask and what belongs beside it.

    Attributes:
        mask: On the scan's own grid; on the disk where the scan was.
        labels: What its numbers stand for.
        seconds: Wall time of "reading" and "segmenting".
        model: The artifact's name.
        model_sha256: Of the artifact's file.
        engine: What computed, and its version.
        input_format: "NIfTI", "DICOM" or "h5"; None where the scan came as a `Volume`.
        input_sha256: Of the scan's file, or of its series as `DicomSeries.sha256`; None as above.
        forced: Whether the scan is outside the artifact's contract and was segmented nevertheless.
        warnings: What is outside the contract, and what is unsure.
        geometry: What the mask's file repeats of the scan's header.
    """

    mask: Mask
    labels: LabelSet
    seconds: dict[str, float]
    model: str
    model_sha256: str
    engine: str
    input_format: str | None
    input_sha256: str | None
    forced: bool
    warnings: tuple[str, ...]
    geometry: NiftiGeometry

    def summary(self) -> dict[str, object]:
        """What `save` writes as JSON."""
        return {
            "use": RESEARCH_USE_ONLY,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "engine": self.engine,
            "input_format": self.input_format,
            "input_sha256": self.input_sha256,
            "forced": self.forced,
            "warnings": list(self.warnings),
            "unit": "ml" if self.mask.spacing_known else "voxels",
            "volumes": structure_volumes(self.mask, self.labels),
            "labels": {label.name: label.id for label in self.labels.labels},
            "seconds": {stage: round(duration, 3) for stage, duration in self.seconds.items()},
            "embedded_vit": __version__,
        }

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the mask as NIfTI, and the summary as JSON of the same name beside it.

        Args:
            path: A `.nii.gz` or `.nii` file.
            overwrite: Whether either file may exist.

        Raises:
            OutputError: A file exists, has another suffix, or cannot be written.
        """
        path = Path(path)
        summary = summary_path(path)
        if not overwrite:
            refuse_existing(summary)
        write_labels(path, self.mask, self.geometry, overwrite=overwrite)
        write_text(summary, json.dumps(self.summary(), indent=2) + "\n", overwrite=overwrite)


class Predictor:
    """An artifact, ready to segment scans."""

    def __init__(self, engine: ArtifactEngine, model_sha256: str) -> None:
        self._engine = engine
        self._model_sha256 = model_sha256

    @classmethod
    def load(cls, path: str | Path, engine: EngineChoice = "onnxruntime", *, threads: int | None = None) -> Self:
        """Load and verify a model file; see `embedded_vit.engines.load`. Each thread segments slices of its own."""
        threads = available_cores() if threads is None else threads
        return cls(load(path, engine, threads=threads, streams=threads), sha256_of(path))

    @property
    def manifest(self) -> Manifest:
        """What the artifact says of itself."""
        return self._engine.manifest

    def predict(
        self,
        scan: str | Path | Volume,
        *,
        force: bool = False,
        memory_bytes: int | None = None,
        spool_folder: Path | None = None,
        series: int | None = None,
        on_progress: Progress | None = None,
    ) -> Prediction:
        """Segment one scan.

        Args:
            scan: A NIfTI or TransUNet h5 file, a folder with a DICOM series, or a volume (CT in HU).
            force: Segment it even if it is outside the artifact's contract; recorded in the prediction.
            memory_bytes: What this process may take. A scan that does not fit, with its mask, is read onto the disk and
                segmented from there, with the same result; by default one that would take more than half of the memory
                that is free.
            spool_folder: Where temporary files go; the system's own place (TMPDIR) by default.
            series: The SeriesNumber, where a DICOM folder holds several of the artifact's modality.
            on_progress: Called after every slice.

        Raises:
            FileFormatError: The file or series cannot be read.
            ContractError: The scan is outside the contract and `force` is not given, or its channels do not fit.
            ConfigError: `memory_bytes` is less than the program takes without a scan.
            OutputError: The disk does not hold a scan that the memory does not.
        """
        started = time.perf_counter()
        source = self._source(scan, series)
        volume = self._read(source, memory_bytes, spool_folder)
        geometry = _geometry(source, volume)
        contract = self.manifest.contract
        contract.check_channels(volume)
        problems = self._modality_violations(source) + contract.violations(volume)
        if problems and not force:
            raise ContractError(f"{volume.source}: refused: {'; '.join(problems)} (--force segments it nevertheless)")
        read = time.perf_counter()
        mask = self._segment(volume, on_progress)
        segmented = time.perf_counter()
        return Prediction(
            mask=mask,
            labels=self.manifest.labels,
            seconds={"reading": read - started, "segmenting": segmented - read},
            model=self.manifest.name,
            model_sha256=self._model_sha256,
            engine=f"{self._engine.name} {self._engine.version}",
            input_format=_format(source),
            input_sha256=_digest(source),
            forced=bool(problems),
            warnings=tuple(problems) if geometry.orientation_known else (*problems, ORIENTATION_WARNING),
            geometry=geometry,
        )

    def _source(self, scan: str | Path | Volume, series: int | None) -> Source:
        """What there is to read: the volume as it came, the series that a folder holds, or the file."""
        if isinstance(scan, Volume):
            return scan
        path = Path(scan)
        return find_series(path, modality=self._modality, number=series) if path.is_dir() else path

    @property
    def _modality(self) -> str:
        return self.manifest.preprocessing.modality

    def _modality_violations(self, source: Source) -> list[str]:
        if not isinstance(source, DicomSeries) or source.modality == self._modality:
            return []
        return [f"the modality is {source.modality}, the artifact is made for {self._modality}"]

    def _read(self, source: Source, memory_bytes: int | None, spool_folder: Path | None) -> Scan:
        """Read a scan into memory where that has room for it and its mask, else onto the disk."""
        if isinstance(source, Volume):
            return source
        if isinstance(source, DicomSeries):
            stack = source.stack()
            fits = stack.volume_bytes + math.prod(stack.shape) <= self._room_bytes(memory_bytes)
            return stack.read() if fits else stack.spool(spool_folder)
        channels = len(self.manifest.preprocessing.channels)
        if source.is_file() and is_scan(source):
            from_h5 = is_h5_volume(source)
            announced = announced_h5_bytes(source) if from_h5 else announced_bytes(source, channels=channels)
            if sum(announced) > self._room_bytes(memory_bytes):
                if from_h5:
                    return spool_h5_volume(source, folder=spool_folder)
                return spool_volume(source, channels=channels, folder=spool_folder)
        return read_scan(source, channels=channels)

    def _room_bytes(self, memory_bytes: int | None) -> float:
        """What a scan and its mask may take in memory."""
        if memory_bytes is None:
            return free_bytes() / 2
        size, channels = self.manifest.preprocessing.image_size, self.manifest.preprocessing.input_channels
        blank, streams = np.zeros((1, channels, size, size), np.float32), self._engine.streams
        list(map_ahead(self._engine.run, [blank] * streams, workers=streams))  # what they take shows when they have run
        return room_below(memory_bytes)

    def _segment(self, volume: Scan, on_progress: Progress | None) -> Mask:
        total = volume.reoriented(self.manifest.preprocessing.orientation).shape[0]
        done = 0

        def on_slice() -> None:
            nonlocal done
            done += 1
            if on_progress is not None:
                on_progress(done, total)

        return segment(volume, self.manifest.contract, self._engine, on_slice=on_slice)


def is_scan(path: Path) -> bool:
    """Whether a file's name is one that `read_scan` reads."""
    return is_nifti(path) or is_h5_volume(path)


def read_scan(path: str | Path, *, channels: int = 1) -> Volume:
    """Read a scan by its suffix: NIfTI, or TransUNet's h5 (converted to HU).

    Args:
        path: The file.
        channels: How many a NIfTI file is expected to have.

    Raises:
        FileFormatError: The suffix is neither, or the file is unreadable.
    """
    path = Path(path)
    if not path.is_file():
        raise FileFormatError(f"{path}: no such file")
    if is_nifti(path):
        return read_volume(path, channels=channels)
    if is_h5_volume(path):
        return read_h5_volume(path)
    raise FileFormatError(
        f"{path}: expected a NIfTI file (.nii.gz, .nii), a TransUNet .h5 file, or the folder of a DICOM series"
    )


def _geometry(source: Source, volume: Scan) -> NiftiGeometry:
    """The scan's own header fields where it is a NIfTI file, else new ones for its affine; three axes."""
    if not isinstance(source, Path) or not is_nifti(source):
        return NiftiGeometry.from_affine(volume.shape, volume.affine, volume.source)
    geometry = read_geometry(source)
    if volume.channels == 1:
        return geometry
    header = geometry.header.copy()
    header.set_data_shape(volume.shape)  # the mask has no channels
    return replace(geometry, header=header)


def _format(source: Source) -> str | None:
    """The name of a scan's file format."""
    if isinstance(source, Volume):
        return None
    if isinstance(source, DicomSeries):
        return "DICOM"
    return "NIfTI" if is_nifti(source) else "h5"


def _digest(source: Source) -> str | None:
    """The SHA-256 of what was read."""
    if isinstance(source, Volume):
        return None
    return source.sha256() if isinstance(source, DicomSeries) else sha256_of(source)


def summary_path(mask_path: Path) -> Path:
    """The JSON file beside a mask: `mask.nii.gz` -> `mask.json`.

    Raises:
        OutputError: The mask's suffix is not NIfTI's.
    """
    for suffix in (".nii.gz", ".nii"):
        if mask_path.name.lower().endswith(suffix) and len(mask_path.name) > len(suffix):
            return mask_path.with_name(mask_path.name[: -len(suffix)] + ".json")
    raise OutputError(f"{mask_path}: masks are written as NIfTI; choose a name that ends in .nii.gz")


def structure_volumes(mask: Mask, labels: LabelSet) -> dict[str, float]:
    """The volume of every structure: ml, or the number of voxels where the spacing is unknown."""
    counts = mask.counts()
    voxel_ml = abs(float(np.linalg.det(mask.affine[:3, :3]))) / 1000 if mask.spacing_known else 1
    return {label.name: round(int(counts[label.id]) * voxel_ml, 3) for label in labels.labels}
