"""Makes the files of one version that every later version must load. Run it once, when a version is released:

    PYTHONPATH=tests python tests/upgrade/make_fixtures.py

It writes tests/upgrade/VERSION, which is committed (below 300 kB) and never changed again.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import nibabel
import numpy as np
from network_fixtures import made_run

from embedded_vit.about import __version__
from embedded_vit.build.record import BuildRecord, write_build_record
from embedded_vit.compression.record import CompressionRecord, Measurements, StageRecord, write_compression_record
from embedded_vit.evaluation.scores import Scores
from embedded_vit.export.exporting import export
from embedded_vit.models.registry import NetworkConfig, network_config
from embedded_vit.predict.predictor import Predictor

NETWORKS: dict[str, NetworkConfig] = {
    "dual": network_config(image_size=32, widths=(8, 16), depth=1, convolution_widths=(4, 8), classes=9),
    "hybrid": network_config(
        image_size=32, family="hybrid", widths=(8, 8, 8), depth=1, hidden_ratio=2, stem_stride=2, classes=9
    ),
    "unet": network_config(image_size=32, family="unet", widths=(4, 4, 8), classes=9),
}
EXPORTED = ("hybrid", "unet")  # a dual one has 180 kB


def scan(path: Path) -> Path:
    """Write a small CT that is the same in every version: air, and a body of soft tissue, fat and bone."""
    axes = np.ogrid[0:24, 0:20, 0:6]
    distance = ((axes[0] - 12) / 10) ** 2 + ((axes[1] - 10) / 8) ** 2 + 0 * axes[2]
    hounsfield = np.where(distance < 1, 40, -1000)
    hounsfield = np.where((distance < 1) & (distance > 0.7), -100, hounsfield)
    hounsfield[11:13, 9:11] = 700
    wave = (7 * axes[0] + 5 * axes[1] + 3 * axes[2]) % 11
    nibabel.save(nibabel.Nifti1Image((hounsfield + wave).astype(np.int16), np.diag([-2.0, -2.0, 3.0, 1.0])), path)
    return path


def mask_sha256(mask: Path) -> str:
    """Return the digest of a mask's labels."""
    return hashlib.sha256(np.asarray(nibabel.load(mask).dataobj).astype(np.uint8).tobytes()).hexdigest()


def compression_record() -> CompressionRecord:
    """A record of one stage."""
    scores = Scores(dice=0.5, jaccard=0.4, hd95=9.0, nsd=None, unit="mm", cases=1, organs={"liver": 0.5})
    measured = Measurements(
        validation=scores,
        test=None,
        macs=1000,
        parameters=100,
        nonzero_parameters=90,
        file_bytes=500,
        deflated_bytes=400,
        latency_ms={"1": 1.5},
        peak_memory_mib=60.0,
    )
    stage = StageRecord(
        name="original", artifact="model.onnx", measured=measured, gate_subset="validation", seconds=1.0
    )
    return CompressionRecord(
        original="run", data_folder="data", recipe={"steps": []}, stages=(stage,), machine="a machine", versions={}
    )


def main() -> None:
    top = Path(__file__).parent / __version__
    top.mkdir()
    (top / "masks").mkdir()
    for name, network in NETWORKS.items():
        run = made_run(top / name, network)
        if name not in EXPORTED:
            continue
        export(run, top / f"{name}.onnx")
        prediction = Predictor.load(top / f"{name}.onnx", threads=1).predict(scan(top / "scan.nii.gz"), force=True)
        prediction.save(top / "masks" / f"{name}.nii.gz")
    write_build_record(top, BuildRecord(data_folder="data", notes=("a note",)).done("plan", 1.5))
    write_compression_record(top, compression_record())
    sys.stdout.write(f"{sum(path.stat().st_size for path in top.rglob('*') if path.is_file()) / 1e3:.0f} kB\n")


if __name__ == "__main__":
    main()
