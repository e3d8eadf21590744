"""The time of the DICOM node: from the last byte of a series to its segmentation in Orthanc, beside that of `predict`.

    python benchmarks/node.py SERIES [--model abdomen-ct] [--repeats 5] [--threads 2] [--memory 1G]

Needs Debian's orthanc and dcmtk. Both ways are measured in turns on the same series; of the node's time the quiet time
is taken away. `predict` is `embedded-vit predict --format dicom-seg` as a command, its start included. The last line
is the most memory that the processes of the node took.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pydicom
from footnote import footnote
from orthanc import Orthanc, dcmtk

QUIET_SECONDS = 1.0
PROGRAM = (sys.executable, "-m", "embedded_vit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("series", type=Path, metavar="SERIES", help="folder of a series that storescu can send")
    parser.add_argument("--model", default="abdomen-ct")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", default="1G", help="that the node is given")
    arguments = parser.parse_args()
    header = pydicom.dcmread(next(arguments.series.iterdir()), stop_before_pixels=True)
    syntax = ["-xv"] if header.file_meta.TransferSyntaxUID == pydicom.uid.JPEG2000Lossless else []
    print(footnote())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        orthanc = Orthanc(folder)
        port, node = start_node(arguments, folder, orthanc)
        through_node, by_predict = [], []
        try:
            for _ in range(arguments.repeats):
                by_predict.append(time_of_predict(arguments, folder))
                through_node.append(time_through_node(arguments.series, syntax, port, header.StudyInstanceUID, orthanc))
            memory = most_memory_mb(node.pid)
        finally:
            node.terminate()
            node.wait()
            orthanc.stop()
    print("\n| way | median, s | from, s | to, s |\n|---|---|---|---|")
    for way, seconds in (("predict --format dicom-seg", by_predict), ("node, less the quiet time", through_node)):
        print(f"| {way} | {statistics.median(seconds):.2f} | {min(seconds):.2f} | {max(seconds):.2f} |")
    print(f"\nThe node takes {statistics.median(through_node) / statistics.median(by_predict):.2f} times as long.")
    print(f"Most resident memory: the process that listens {memory[0]} MB, the one that segments {max(memory[1:])} MB.")


def most_memory_mb(pid: int) -> list[int]:
    """Return the most resident memory that a process and its children took."""
    children = [word for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]
    status = [Path(f"/proc/{number}/status").read_text() for number in (pid, *children)]
    return [int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0]) // 1024 for text in status]


def start_node(arguments: argparse.Namespace, folder: Path, orthanc: Orthanc) -> tuple[int, subprocess.Popen[str]]:
    """Start a node; return its port and process."""
    words = [*PROGRAM, "node", arguments.model, "--port", "0", "--store", str(folder / "store")]
    words += ["--quiet", str(QUIET_SECONDS), "--send-to", f"ARCHIVE@127.0.0.1:{orthanc.dicom_port}"]
    words += ["--threads", str(arguments.threads), "--memory", arguments.memory]
    node = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert node.stdout is not None
    return int(node.stdout.readline().split(":")[1].split(";")[0]), node


def time_of_predict(arguments: argparse.Namespace, folder: Path) -> float:
    """Return the wall time of the command, in seconds."""
    output, began = folder / "seg.dcm", time.perf_counter()
    words = [*PROGRAM, "predict", arguments.model, str(arguments.series), "-o", str(output), "--format", "dicom-seg"]
    subprocess.run([*words, "--threads", str(arguments.threads)], check=True, capture_output=True)
    seconds = time.perf_counter() - began
    for path in folder.glob("seg.*"):
        path.unlink()
    return seconds


def time_through_node(series: Path, syntax: list[str], port: int, study: str, orthanc: Orthanc) -> float:
    """Return the time from the last byte to the segmentation in Orthanc, less the quiet time, in seconds."""
    words = [
        dcmtk("storescu") or "storescu",
        *syntax,
        "-aec",
        "EMBEDDEDVIT",
        "127.0.0.1",
        str(port),
        "+sd",
        str(series),
    ]
    subprocess.run(words, check=True)
    began = time.perf_counter()
    while not (found := orthanc.find(study)):
        time.sleep(0.01)
    seconds = time.perf_counter() - began - QUIET_SECONDS
    for name in found:
        orthanc.delete(name)
    return seconds


if __name__ == "__main__":
    main()
