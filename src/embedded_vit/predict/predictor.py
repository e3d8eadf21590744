"""The predictor that `embedded_vit.load` returns: from a scan to a mask and the volumes of structures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from embedded_vit.about import RESEARCH_USE_ONLY, __version__
from embedded_vit.artifact.manifest import Manifest
from embedded_vit.contract import Contract
from embedded_vit.engines import ArtifactEngine, EngineChoice, load
from embedded_vit.errors import ContractError, OutputError
from embedded_vit.io.atomic import atomic_path, refuse_existing, write_text
from embedded_vit.io.channels import channel_files
from embedded_vit.io.digest import sha256_of
from embedded_vit.io.mask_file import (
    check_mask_name,
    is_our_summary,
    overlay_path,
    preview_path,
    probabilities_path,
    summary_path,
    write_mask,
)
from embedded_vit.io.nifti import NiftiGeometry, write_probabilities
from embedded_vit.io.pictures import write_picture
from embedded_vit.io.scan_source import ScanSource, open_scan, scan_stem
from embedded_vit.labels import LabelSet
from embedded_vit.plausibility import Judgement
from embedded_vit.predict.describing import described
from embedded_vit.predict.judging import judge_mask
from embedded_vit.predict.measuring import Brightness, measure_mask, region_sizes, size_unit, structure_volumes
from embedded_vit.predict.memory import free_bytes, room_below
from embedded_vit.predict.segmentation import map_ahead, segment
from embedded_vit.predict.watching import ProbabilityMaps, Watcher
from embedded_vit.provenance import available_cores
from embedded_vit.volume import Mask, Scan, Volume

__all__ = ["Prediction", "Predictor", "Progress", "structure_volumes"]

ORIENTATION_WARNING = "the file does not say where the patient's left is (qform and sform codes are 0): check the sides"

FAST = 1  # how well pictures beside a mask are compressed, as zlib counts

Progress = Callable[[int, int], None]  # slices done, slices in all


@dataclass(frozen=True, eq=False)
class Prediction:
    """A mask, with the facts about its making.

    Attributes:
        mask: The mask on the scan's own grid; on the disk where the scan was.
        labels: The structures that the mask's numbers stand for.
        volumes: Of every structure, in `unit`.
        seconds: Wall time of "reading" and "segmenting".
        model: The name of the model.
        model_sha256: SHA-256 of the model file.
        engine: The engine that computed the mask, and its version.
        input_format: "NIfTI", "ITK", "DICOM", "h5" or "picture"; None where the scan came as a `Volume`.
        input_sha256: `ScanSource.sha256` of the scan; None as above.
        forced: Whether the scan does not fit the contract and was segmented nevertheless.
        warnings: Differences between scan and contract, and doubts, one sentence each.
        geometry: The geometry of the scan's file, which the mask's file repeats.
        cut_off: The structures that touch the border of the scan.
        judgement: What is not plausible in the mask; None where the model file does not say what is.
        brightness: Structure -> channel -> mean and deviation of its voxels; structures without a voxel are left out.
        mean_probability: Structure -> the network's mean probability of its voxels, as `Certainty` measures it; None
            where there are none.
        overlay: Of a picture: the mask drawn over it, (height, width, 3) uint8; else None.
        preview: Of any other scan: some slices with the mask drawn over them, (height, width, 3) uint8; else None.
        probabilities: Of every voxel; None unless `predict` was asked for them.
        kept: The scan and where it came from, for results that are made of both; None unless `predict` kept them.
    """

    mask: Mask
    labels: LabelSet
    volumes: dict[str, float]
    seconds: dict[str, float]
    model: str
    model_sha256: str
    engine: str
    input_format: str | None
    input_sha256: str | None
    forced: bool
    warnings: tuple[str, ...]
    geometry: NiftiGeometry
    cut_off: tuple[str, ...] = ()
    judgement: Judgement | None = None
    brightness: Mapping[str, Mapping[str, Brightness]] = field(default_factory=dict)
    mean_probability: Mapping[str, float | None] = field(default_factory=dict)
    overlay: NDArray[np.uint8] | None = None
    preview: NDArray[np.uint8] | None = None
    probabilities: ProbabilityMaps | None = None
    kept: tuple[Scan, ScanSource] | None = None

    @property
    def unit(self) -> str:
        """The unit of sizes: ml, or voxels where the spacing is unknown; of a picture mm2 or pixels."""
        return size_unit(self.mask, flat=self.overlay is not None)

    @property
    def regions(self) -> dict[str, float]:
        """The size of every region of several structures, in `unit`."""
        return region_sizes(self.volumes, self.labels, self.unit)

    def summary(self) -> dict[str, object]:
        """Return the content of the JSON file that `save` writes."""
        return {
            "use": RESEARCH_USE_ONLY,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "engine": self.engine,
            "input_format": self.input_format,
            "input_sha256": self.input_sha256,
            "forced": self.forced,
            "warnings": list(self.warnings),
            "unit": self.unit,
            "volumes" if self.overlay is None else "areas": self.volumes,
            **({"regions": self.regions} if self.labels.regions else {}),
            "intensities": {
                label.name: {channel: asdict(each) for channel, each in found.items()}
                if (found := self.brightness.get(label.name))
                else None
                for label in self.labels.labels
            },
            "mean_probability": dict(self.mean_probability),
            "touches_border": {label.name: label.name in self.cut_off for label in self.labels.labels},
            "plausibility": "not checked" if self.judgement is None else self.judgement.plain(),
            "labels": {label.name: label.id for label in self.labels.labels},
            "seconds": {stage: round(duration, 3) for stage, duration in self.seconds.items()},
            "embedded_vit": __version__,
        }

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the mask as NIfTI, the summary as JSON of the same name beside it, and a preview as `NAME_preview.png`.

        The mask of a picture is written as PNG, with `NAME_overlay.png` beside it, which shows it over the picture.
        Probabilities that were asked for are written as `NAME_probabilities.nii.gz`.

        Args:
            path: A `.nii.gz` or `.nii` file; for a picture a `.png` file.
            overwrite: Whether these files may exist.

        Raises:
            OutputError: A file exists, has another suffix, or cannot be written.
        """
        path = Path(path)
        summary = summary_path(path)
        check_mask_name(path, picture=self.overlay is not None)
        if not overwrite:
            refuse_existing(path)
            if not is_our_summary(summary):  # one without its mask is left of a process that was killed between the two
                for beside in (summary, *self._pictures(path)):
                    refuse_existing(beside)
                if self.probabilities is not None:
                    refuse_existing(probabilities_path(path))
        # The summary takes its place first: a mask that is there is complete.
        with atomic_path(path, overwrite=overwrite) as temporary:
            try:
                write_mask(temporary, self.mask, self.geometry, self.labels)
            except OutputError as error:
                raise OutputError(str(error).replace(str(temporary), str(path))) from error
            self.save_summary(path)
            try:
                self._save_beside(path)
            except OutputError:
                for beside in (summary, *self._pictures(path)):
                    beside.unlink(missing_ok=True)
                raise

    def _save_beside(self, path: Path) -> None:
        for place, picture in self._pictures(path).items():
            write_picture(place, picture, overwrite=True, compression=FAST)
        if self.probabilities is not None:
            maps, place = self.probabilities.maps, probabilities_path(path)
            write_probabilities(place, maps, self.geometry, names=self.labels, overwrite=True)

    def _pictures(self, path: Path) -> dict[Path, NDArray[np.uint8]]:
        """Return the pictures beside a mask by their paths."""
        found = {overlay_path(path): self.overlay, preview_path(path): self.preview}
        return {place: picture for place, picture in found.items() if picture is not None}

    def save_summary(self, path: Path) -> None:
        """Write the summary alone, over what is there; errors as `save`.

        Args:
            path: The mask or another result, which the summary is to lie beside.
        """
        write_text(summary_path(path), json.dumps(self.summary(), indent=2) + "\n", overwrite=True)


class Predictor:
    """A model that is ready to segment scans."""

    def __init__(self, engine: ArtifactEngine, model_sha256: str) -> None:
        self._engine = engine
        self._contract = engine.manifest.contract
        self._model_sha256 = model_sha256

    @classmethod
    def load(cls, path: str | Path, engine: EngineChoice = "onnxruntime", *, threads: int | None = None) -> Self:
        """Load and verify a model file; see `embedded_vit.engines.load`. Each thread segments slices of its own."""
        threads = available_cores() if threads is None else threads
        return cls(load(path, engine, threads=threads, streams=threads), sha256_of(path))

    @property
    def manifest(self) -> Manifest:
        """The manifest of the model file."""
        return self._engine.manifest

    def predict(
        self,
        scan: str | Path | Volume | Sequence[str | Path],
        *,
        force: bool = False,
        memory_bytes: int | None = None,
        spool_folder: Path | None = None,
        series: int | None = None,
        on_progress: Progress | None = None,
        on_open: Callable[[ScanSource], None] | None = None,
        keep_scan: bool = False,
        probabilities: bool = False,
    ) -> Prediction:
        """Segment one scan.

        Args:
            scan: A file, a folder with a DICOM series, or a volume (CT in HU). Several files are the channels of one
                scan, matched by their names (`channel_files`); several folders hold one series.
            force: Segment a scan that does not fit the contract, keep an implausible mask; the prediction says so.
            memory_bytes: The memory that this process may take; by default half of the free memory is for the scan and
                its mask. A scan that does not fit is read onto the disk and segmented from there, with the same result.
            spool_folder: Where temporary files go; the system's own place (TMPDIR) by default.
            series: The SeriesNumber, where a DICOM folder holds several series of the model's modality.
            on_progress: Called after every slice.
            on_open: Called with the scan before its voxels are read; what it raises is raised.
            keep_scan: Whether the prediction keeps the scan and its source, which takes their memory.
            probabilities: Whether to keep the probabilities of all structures, one byte per voxel for each.

        Raises:
            FileFormatError: The file or series cannot be read.
            ContractError: Without `force`: the scan does not fit the contract, or nothing of its mask is plausible.
            ConfigError: `memory_bytes` is less than the program takes without a scan.
            OutputError: A scan that does not fit into memory does not fit onto the disk either.
        """
        started, contract = time.perf_counter(), self._contract
        with self._open(scan, series, memory_bytes) as source:
            maps_bytes = len(contract.labels.labels) * source.mask_bytes if probabilities else 0
            volume = self._read(source, memory_bytes, maps_bytes, spool_folder, on_open)
            geometry, digest = source.geometry, source.sha256()
            warnings = list(source.remarks) + ([] if geometry.orientation_known else [ORIENTATION_WARNING])
        problems, flat = _violations(source, volume, contract, force=force), source.modality == "picture"
        read, watcher = time.perf_counter(), Watcher(volume, contract, probabilities=probabilities)
        mask = self._segment(volume, watcher, on_progress)
        segmented, measured = time.perf_counter(), measure_mask(volume, mask, contract.orientation)
        judged = judge_mask(mask, measured.counts, watcher.figures, contract, volume.source, force=force)
        return Prediction(
            mask=mask,
            labels=contract.labels,
            seconds={"reading": read - started, "segmenting": segmented - read},
            **self._made_by,
            input_format=source.format,
            input_sha256=digest,
            forced=bool(problems or judged.problems),
            warnings=(*problems, *judged.problems, *warnings, *contract.doubts(volume), *judged.warnings),
            geometry=geometry,
            cut_off=judged.cut_off,
            judgement=judged.judgement,
            kept=(volume, source) if keep_scan else None,
            **described(volume, mask, measured, watcher, contract, flat=flat),
        )

    def _open(
        self, scan: str | Path | Volume | Sequence[str | Path], series: int | None, memory_bytes: int | None
    ) -> ScanSource:
        """Open a scan; before, where memory is limited, let the network take its own."""
        if memory_bytes is not None:
            self._run_once()
        preprocessing = self._contract.preprocessing
        if isinstance(scan, (list, tuple)):
            scan = self.in_order([Path(path) for path in scan])
        return open_scan(scan, modality=preprocessing.modality, channels=len(preprocessing.channels), series=series)

    def _read(
        self,
        source: ScanSource,
        memory_bytes: int | None,
        maps_bytes: int,
        spool_folder: Path | None,
        on_open: Callable[[ScanSource], None] | None,
    ) -> Scan:
        """Read a scan into memory if it fits, else onto the disk, in the slices that the network sees."""
        if on_open is not None:
            on_open(source)
        if source.volume_bytes == 0 or source.needed_bytes + maps_bytes <= self._room_bytes(memory_bytes):
            return source.read()
        return source.spool(spool_folder, orientation=self._contract.orientation)

    def in_order(self, paths: Sequence[Path]) -> tuple[Path, ...]:
        """Return the files of one scan in the order of the model's channels; folders as they are.

        Raises:
            ContractError: There are more or fewer files than channels, or their names contradict the channels.
        """
        if len(paths) == 1 or all(path.is_dir() for path in paths):
            return tuple(paths)
        names = self._contract.preprocessing.channels
        return channel_files(paths, names, {path: scan_stem(path) for path in paths})

    @property
    def _made_by(self) -> dict[str, Any]:
        engine = f"{self._engine.name} {self._engine.version}"
        return {"model": self.manifest.name, "model_sha256": self._model_sha256, "engine": engine}

    @property
    def contract(self) -> Contract:
        """The contract of the model."""
        return self._contract

    @property
    def model_sha256(self) -> str:
        """SHA-256 of the model file."""
        return self._model_sha256

    def _run_once(self) -> None:
        """Compute one slice in each stream, so that the network's memory is allocated before it is measured."""
        size, channels = self._contract.preprocessing.image_size, self._contract.preprocessing.input_channels
        blank, streams = np.zeros((1, channels, size, size), np.float32), self._engine.streams
        list(map_ahead(self._engine.run, [blank] * streams, workers=streams))

    def _room_bytes(self, memory_bytes: int | None) -> float:
        """Return the memory in bytes for a scan and its mask; where it is limited, call `_run_once` before."""
        return free_bytes() / 2 if memory_bytes is None else room_below(memory_bytes)

    def _segment(self, volume: Scan, watcher: Watcher, on_progress: Progress | None) -> Mask:
        contract, done = self._contract, 0
        total = volume.reoriented(contract.orientation).shape[0]

        def on_slice() -> None:
            nonlocal done
            done += 1
            if on_progress is not None:
                on_progress(done, total)

        return segment(volume, contract, self._engine, on_slice=on_slice, collector=watcher)


def _violations(source: ScanSource, volume: Scan, contract: Contract, *, force: bool) -> list[str]:
    """Return in what a scan differs from the contract, a sentence each.

    Raises:
        ContractError: Its channels differ; or it differs otherwise, and `force` is not given.
    """
    contract.check_channels(volume)
    expected = contract.preprocessing.modality
    found = contract.violations(volume)
    if source.modality is not None and not contract.takes(source.modality):
        found.insert(0, f"the modality is {source.modality}, the artifact is made for {expected}")
    elif expected == "picture" and source.modality is None and source.format is not None:
        found.insert(0, f"a {source.format} file, the artifact is made for pictures (PNG, JPEG, TIFF, BMP)")
    if found and not force:
        raise ContractError(f"{volume.source}: refused: {'; '.join(found)} (--force segments it nevertheless)")
    return found
