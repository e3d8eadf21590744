"""Every verb under strace: no connection to another computer."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from faults.row import Outcome
from faults.small_scans import model, write

CALL = re.compile(r"(connect|sendto|sendmsg)\(.*sa_family=AF_INET6?, .*")


def verbs(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each verb with arguments that take little time; later ones use what earlier ones wrote."""
    scan, artifact = write(folder / "scan.nii.gz", 3), model(folder / "model")
    data, run = folder / "data", folder / "run"
    small = ["--image-size", "32", "--widths", "8", "16", "--depth", "1", "--epochs", "1"]
    yield "predict", [str(artifact), str(scan), "-o", str(folder / "mask.nii.gz")]
    yield "predict --workers", [str(artifact), str(folder), "-o", str(folder / "masks"), "--workers", "2"]
    yield "models", []
    yield "info", [str(artifact)]
    yield "phantom", [str(data), "--layout", "decathlon", "--cases", "3", "--size", "64", "--slices", "8"]
    yield "data", [str(data)]
    yield "plan", ["--data", str(data), "--output", str(folder / "plan")]
    yield "train", ["--data", str(data), "--output", str(run), *small, "--threads", "1"]
    yield "export", [str(run), "--output", str(folder / "own.onnx")]
    yield "evaluate", [str(folder / "own.onnx"), "--data", str(data), "--output", str(folder / "evaluation")]
    yield "benchmark", [str(artifact)]


def network(count: int, folder: Path) -> Outcome:
    """Trace as many verbs as are asked for."""
    outcome = Outcome()
    for number, (verb, arguments) in enumerate(verbs(folder)):
        if number >= count:
            break
        trace = folder / f"trace{number}"
        strace = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", str(trace)]
        command = [*strace, sys.executable, "-m", "embedded_vit", verb.split()[0], *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        calls = [line for line in trace.read_text(errors="replace").splitlines() if CALL.search(line)]
        wrong = f"{len(calls)} calls, the first {calls[0][:120]}" if calls else ""
        if done.returncode != 0:
            wrong = f"exit status {done.returncode}: {done.stderr[-200:]!r}"
        outcome.count(good=not wrong, message=f"{verb}: {wrong}")
    return outcome
