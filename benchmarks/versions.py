"""Time of `embedded-vit predict` in this checkout and in another one, measured in turns as whole processes.

    git worktree add ../other REVISION
    python benchmarks/versions.py ../other [--model abdomen-ct] [--slices 96] [--rounds 20] [--threads 2]

The scan is a phantom of 512 x 512 pixels. Both checkouts run in this environment's Python, from their own sources, so
only our code differs. With a ratio below 1 this checkout is faster.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
from footnote import footnote

from embedded_vit.datasets.phantom import PhantomSettings, make_phantom
from embedded_vit.engines.single_stream import paired_ratio, single_stream

HERE = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="another checkout of this repository")
    parser.add_argument("--model", default="abdomen-ct")
    parser.add_argument("--slices", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = folder / "scan.nii.gz"
        write_phantom(scan, slices=arguments.slices)
        queries = [
            partial(predict, checkout, arguments.model, scan, folder / "mask.nii.gz", threads=arguments.threads)
            for checkout in (HERE, arguments.other)
        ]
        stream = single_stream(queries, rounds=arguments.rounds, seconds_limit=3600, warmup=1)
    here_s, other_s = np.median(stream.latencies_ms, axis=0) / 1000
    ratio = paired_ratio(stream.latencies_ms)
    print(footnote())
    print(f"{arguments.model}, {arguments.slices} slices of 512 x 512, {len(stream.latencies_ms)} pairs")
    print(f"here {here_s:.3f} s, other {other_s:.3f} s")
    print(f"here / other {ratio.median:.3f}, 95 % interval {ratio.low:.3f} to {ratio.high:.3f}")


def write_phantom(path: Path, *, slices: int) -> None:
    """Write a phantom as a NIfTI file, with the axes that converters of DICOM files write."""
    volume, _ = make_phantom(0, seed=1, settings=PhantomSettings(size=512, slices=slices))
    turned = volume.reoriented("LPS")
    nibabel.save(nibabel.Nifti1Image(turned.array[0], turned.affine), path)


def predict(checkout: Path, model: str, scan: Path, mask: Path, *, threads: int) -> None:
    """Run `embedded-vit predict` from a checkout's sources, in a process of its own; its results are removed first."""
    for path in mask.parent.glob(f"{mask.name.partition('.')[0]}*"):
        path.unlink()
    command = ["predict", model, str(scan), "-o", str(mask), "--threads", str(threads)]
    variables = os.environ | {"PYTHONPATH": str(checkout.resolve() / "src")}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    subprocess.run(
        [sys.executable, "-m", "embedded_vit", *command],
        env=variables,
        check=True,
        stdout=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    main()
