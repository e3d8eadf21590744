"""The peak memory of every verb on a device: on a CT of 512 x 512 x 300, and on a data set of 20 cases.

    python benchmarks/verb_memory.py [--verbs predict data ...] [--slices 300] [--cases 20] [--write PAGE]

Each verb is a process of its own; the peak is that of the process and its children. Then the verb runs again under a
limit on its address space (`ulimit -v`) of 1 GB and 2 GB; the table says under which it still works. Verbs that train
have tiny networks and one epoch, so the table says what the data need, not what a training needs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from footnote import footnote, machine_and_versions
from footprint import PEAK
from page_table import replace_table

from embedded_vit.costs.machine_state import load_average
from embedded_vit.datasets.phantom import PhantomSettings, make_phantom
from embedded_vit.datasets.phantom_writer import write_phantoms
from embedded_vit.io.nifti import write_volume

LIMITS_GB = (1, 2)
LIMITED = (
    "import resource, runpy, sys; size = int(sys.argv.pop(1)); resource.setrlimit(resource.RLIMIT_AS, (size, size)); "
    "runpy.run_module('embedded_vit', run_name='__main__')"
)
SMALL = ("--image-size", "64", "--widths", "8", "16", "--depth", "1", "--epochs", "1", "--threads", "2")
NEEDED_LATER = ("train", "export", "compress")  # what they write is read by others
Verb = tuple[str, str, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verbs", nargs="+", help="only these")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--write", type=Path, help="a page whose table is replaced")
    arguments = parser.parse_args()
    limits = "".join(f" {limit} GB |" for limit in LIMITS_GB)
    lines = [f"| Verb | On | Peak, MiB |{limits}", "|---|---|---|---|---|"]
    print("\n".join(lines))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, arguments.slices, arguments.cases)
        for verb, on, words in verbs(folder, arguments.slices, arguments.cases):
            asked = not arguments.verbs or verb.split()[0].rstrip(",") in arguments.verbs
            if not asked and words[0] not in NEEDED_LATER:
                continue
            peak = peak_mib(words)
            if not asked:
                continue
            works = " | ".join("works" if works_within(words, limit) else "-" for limit in LIMITS_GB)
            lines.append(f"| `{verb}` | {on} | {peak:.0f} | {works} |")
            print(lines[-1], flush=True)
            if arguments.write:  # after each row, as all of them take long
                foot = f"{machine_and_versions()}; load average {load_average()}"
                replace_table(arguments.write, "memory", lines, foot)
    print(footnote())


def write_inputs(folder: Path, slices: int, cases: int) -> None:
    """Write the CT and the data set."""
    volume, _ = make_phantom(0, settings=PhantomSettings(size=512, slices=slices))
    write_volume(folder / "ct.nii.gz", volume.reoriented("RAS"))
    settings = PhantomSettings(size=256, slices=32)
    write_phantoms(folder / "data", cases, layout="decathlon", settings=settings, seed=1)


def verbs(folder: Path, slices: int, cases: int) -> Iterator[Verb]:
    """Yield each verb: its name, what it works on, and its command line without the program."""
    ct, many = f"CT 512 x 512 x {slices}", f"{cases} cases"
    scan, data, run = str(folder / "ct.nii.gz"), str(folder / "data"), str(folder / "run")
    forced = ["abdomen-ct", scan, "--force", "--threads", "2", "-o"]
    yield "predict", ct, ["predict", *forced, str(folder / "mask.nii.gz")]
    yield "predict --memory 400M", ct, ["predict", *forced, str(folder / "less.nii.gz"), "--memory", "400M"]
    yield "models", "", ["models"]
    yield "info", "abdomen-ct", ["info", "abdomen-ct"]
    yield "data", many, ["data", data]
    yield "train", many, ["train", "--data", data, "--output", run, *SMALL]
    yield "export", "its run", ["export", run, "--output", str(folder / "own.onnx")]
    own, small, built = str(folder / "own.onnx"), str(folder / "small"), str(folder / "built")
    yield "evaluate", many, ["evaluate", own, "--data", data, "--output", str(folder / "evaluation")]
    yield "predict, a folder", many, ["predict", own, f"{data}/imagesTr", "--threads", "2", "-o", str(folder / "masks")]
    yield "benchmark", "its model", ["benchmark", own, "--threads", "2"]
    yield "page", "its model", ["page", own, "--output", str(folder / "page.html")]
    yield "plan", many, ["plan", "--data", data, "--output", str(folder / "plan")]
    compression = folder / "compression.yaml"
    pruned, rounded = "prune_channels: {target_macs: 0.7, rounds: 1, epochs: 1}", "quantize: {precision: int8}"
    compression.write_text(f"steps: [{{{pruned}}}, {{{rounded}}}]\n")
    yield "compress", many, ["compress", run, "--plan", str(compression), "--threads", "2", "--output", small]
    yield "report", "that compression", ["report", small, "--output", str(folder / "report.html")]
    budget = ["--budget", "macs=1e8", "--trials", "1", "--epochs", "1", "--image-sizes", "64", "--threads", "2"]
    yield "search", many, ["search", "--data", data, *budget, "--output", str(folder / "search")]
    yield "build --minutes 1", many, ["build", "--data", data, "--minutes", "1", "--threads", "2", "--output", built]
    drawn = ["--cases", "2", "--size", "512", "--slices", str(slices)]
    yield "phantom", f"2 of 512 x 512 x {slices}", ["phantom", str(folder / "drawn"), *drawn]


def peak_mib(words: list[str]) -> float:
    """Run a verb; return its peak memory in MiB."""
    command = [sys.executable, "-c", PEAK, sys.executable, "-m", "embedded_vit", *words]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


def works_within(words: list[str], limit_gb: int) -> bool:
    """Whether a verb that writes somewhere else ends well under a limit on its address space."""
    with tempfile.TemporaryDirectory() as name:
        written = ("-o", "--output", "phantom")  # what follows is a place to write to
        moved = [
            f"{name}/{Path(word).name}" if number and words[number - 1] in written else word
            for number, word in enumerate(words)
        ]
        command = [sys.executable, "-c", LIMITED, str(limit_gb * 10**9), *moved]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0


if __name__ == "__main__":
    main()
