"""The footprint of the base package on a device: installed size, cold start, memory, and bytes of the artifacts.

    python benchmarks/footprint.py [MODEL ...] [--threads 1]

Installs this checkout's base package with its dependencies into a fresh environment and segments a generated scan of
100 slices there, without a memory limit and with `--memory 190M`. Without MODEL it takes the built-in models.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from footnote import footnote
from installed_size import print_installed_size

from embedded_vit.builtin.index import builtin_paths
from embedded_vit.builtin.resolve import model_path
from embedded_vit.costs.fresh_process import in_fresh_process
from embedded_vit.datasets.phantom import PhantomSettings, make_phantom
from embedded_vit.io.nifti import write_volume

SLICES = 100  # of 512 x 512, 52 MB
MEMORY = "190M"
# Prints the peak KiB of a command. It is a small process, because the memory of the parent counts as well.
PEAK = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=model_path, nargs="*", metavar="MODEL", default=builtin_paths())
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    print(footnote())
    checkout = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([f"{folder}/bin/pip", "install", "-qq", str(checkout)], check=True)
        print_installed_size(Path(folder))
        scan = Path(folder, "scan.nii.gz")
        volume, _ = make_phantom(0, settings=PhantomSettings(size=512, slices=SLICES))
        write_volume(scan, volume.reoriented("RAS"))  # slice after slice, as converters write
        print(
            f"\n| model | MB | import, ms | load, ms | first slice, ms | peak memory, MiB | of {SLICES} slices, MiB "
            f"| with --memory {MEMORY} |\n|---|---|---|---|---|---|---|---|"
        )
        threads = ("--threads", str(arguments.threads))
        for model in arguments.models:
            found = in_fresh_process(model, threads=arguments.threads)
            peak = peak_mib(Path(folder), model, scan, *threads)
            peak_within = peak_mib(Path(folder), model, scan, *threads, "--memory", MEMORY)
            print(
                f"| {model.name} | {model.stat().st_size / 1e6:.2f} | {found.import_ms:.0f} | {found.load_ms:.0f} "
                f"| {found.first_slice_ms:.0f} | {found.peak_memory_mib:.0f} | {peak:.0f} | {peak_within:.0f} |"
            )


def peak_mib(environment: Path, model: Path, scan: Path, *options: str) -> float:
    """Measure the peak memory of a prediction in MiB; with --force, because the scan may not fit the contract."""
    with tempfile.TemporaryDirectory() as folder:
        predict = [environment / "bin/embedded-vit", "predict", model, scan, "--output", f"{folder}/mask.nii.gz"]
        command = [sys.executable, "-c", PEAK, *map(str, predict), "--force", *options]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


if __name__ == "__main__":
    main()
