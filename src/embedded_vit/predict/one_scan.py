"""One scan of a prediction: its files are written, or are there already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from embedded_vit.about import __version__
from embedded_vit.errors import OutputError
from embedded_vit.io.channels import FoundScan
from embedded_vit.io.mask_file import read_summary, summary_path
from embedded_vit.io.pictures import is_picture
from embedded_vit.io.scan_source import ScanSource
from embedded_vit.predict.listener import Listener
from embedded_vit.predict.predictor import Predictor
from embedded_vit.predict.results import Results

__all__ = ["ScanWriter"]


@dataclass(frozen=True)
class ScanWriter:
    """What all scans of a prediction share: the model, the options, and what is written.

    Attributes:
        predictor: The model.
        force, memory_bytes, series: As `Predictor.predict`.
        listener: Whom to tell how it goes on.
        results: What is written of each scan.
    """

    predictor: Predictor
    force: bool
    memory_bytes: int | None
    series: int | None
    listener: Listener
    results: Results

    def predict(self, scan: FoundScan, output: Path) -> None:
        """Segment a scan and write its files.

        Raises:
            EmbeddedVitError: As `predict_path`.
        """
        self.results.check_name(output, picture=is_picture(scan.files[0]))
        self.results.refuse_existing(output)
        files = self.predictor.in_order(scan.files)
        names = self.predictor.manifest.preprocessing.channels
        if len(files) > 1 and len(files) == len(names):
            shown = ", ".join(f"{name} = {file.name}" for name, file in zip(names, files, strict=True))
            self.listener.on_remark(f"{scan.place}: channels: {shown}")

        def on_open(source: ScanSource) -> None:
            for remark in self.results.check(source):
                self.listener.on_remark(f"{scan.place}: {remark}")

        prediction = self.predictor.predict(
            files,
            force=self.force,
            memory_bytes=self.memory_bytes,
            spool_folder=next(folder for folder in output.absolute().parents if folder.exists()),
            series=self.series,
            on_progress=self.listener.on_progress(scan.place) if self.listener.on_progress else None,
            on_open=on_open,
            keep_scan=bool(self.results.others),
            probabilities=self.results.probabilities,
        )
        self.results.save(prediction, output, self.predictor.contract)
        for warning in prediction.warnings:
            self.listener.on_remark(f"{scan.place}: warning: {warning}")

    def is_there(self, output: Path) -> bool:
        """Whether the files that this model and version would write are there.

        Raises:
            OutputError: There is another one.
        """
        summary = read_summary(summary_path(output))
        if summary is None or not all(path.exists() for path in self.results.files(output)):
            return False
        if (summary["model_sha256"], summary.get("embedded_vit")) == (self.predictor.model_sha256, __version__):
            return True
        raise OutputError(
            f"{output}: exists already, by model {summary.get('model')!s:.60} and version "
            f"{summary.get('embedded_vit')!s:.20}; choose another folder or remove it"
        )
