"""What the base package takes on a device: installed size, and with artifacts cold start, memory and bytes.

    python benchmarks/footprint.py [MODEL ...] [--threads 1]

Installs this checkout's base package, with all it needs, into a fresh environment. Without artifacts it takes the
built-in models.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from installed_size import print_installed_size
from machine import describe_machine

from embedded_vit.benchmark.fresh_process import in_fresh_process
from embedded_vit.builtin.index import builtin_paths
from embedded_vit.builtin.resolve import model_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=model_path, nargs="*", metavar="MODEL", default=builtin_paths())
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    print(describe_machine())
    checkout = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([f"{folder}/bin/pip", "install", "-qq", str(checkout)], check=True)
        print_installed_size(Path(folder))
    if arguments.models:
        print(
            "\n| model | MB | import, ms | load, ms | first slice, ms | peak memory, MiB |\n|---|---|---|---|---|---|"
        )
    for model in arguments.models:
        found = in_fresh_process(model, threads=arguments.threads)
        print(
            f"| {model} | {model.stat().st_size / 1e6:.2f} | {found.import_ms:.0f} | {found.load_ms:.0f} "
            f"| {found.first_slice_ms:.0f} | {found.peak_memory_mib:.0f} |"
        )


if __name__ == "__main__":
    main()
