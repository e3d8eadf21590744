"""Disks that are full, broken or read-only at each write: one line, the file before stays whole, nothing is left."""

from __future__ import annotations

import ctypes
import errno
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from faults.row import Outcome, environment

SHIM = Path(__file__).with_suffix(".c")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES)


def failing(count: int, folder: Path) -> Outcome:
    """Run this module in a process whose writes below a folder can be made to fail."""
    library = folder / "failing_disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(SHIM), "-ldl"], check=True, capture_output=True)
    place = folder / "disk"
    place.mkdir()
    command = [sys.executable, "-m", "faults.failing_disk", str(count), str(place), str(folder)]
    done = subprocess.run(
        command,
        env=environment(LD_PRELOAD=str(library), FAULT_FOLDER=str(place)),
        capture_output=True,
        text=True,
        check=False,
    )
    outcome = Outcome()
    for line in done.stdout.splitlines():
        good, _, message = line.partition(" ")
        outcome.count(good=good == "good", message=message)
    if done.returncode != 0:
        outcome.count(good=False, message=f"died ({done.returncode}): {done.stderr[-400:]!r}")
    return outcome


class Disk:
    """The calls of the library that is preloaded."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.fault_disarm.restype = ctypes.c_long

    def tried(self, act: Callable[[], object], nth: int, error: int) -> tuple[BaseException | None, int]:
        """Do something while the n-th write and all after it fail; return what was raised, and the writes so far."""
        self._library.fault_arm(ctypes.c_long(nth), ctypes.c_int(error))
        try:
            act()
        except Exception as raised:
            return raised, self._library.fault_disarm()
        return None, self._library.fault_disarm()


def actions(place: Path, others: Path) -> list[tuple[str, Callable[[], object], Callable[[], str]]]:
    """Return what writes: its name, the act, and a check of what is left, which returns what is wrong."""
    from embedded_vit.io.atomic import write_text
    from embedded_vit.predict.bulk.case_queue import MANIFEST, CaseQueue
    from embedded_vit.predict.bulk.running import cases_of, run_cases, scans_in
    from embedded_vit.predict.bulk.workers import InThisProcess
    from embedded_vit.predict.listener import Listener
    from embedded_vit.predict.one_scan import ScanWriter
    from embedded_vit.predict.results import Results
    from faults.small_scans import predictor, write_many

    find, scans = predictor(others / "model"), write_many(others / "scans", 2)
    text, out, bulk = place / "text.json", place / "out", place / "bulk"
    text.write_text("before")

    def left(folder: Path) -> str:
        names = sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []
        masks = [name for name in names if name.endswith(".nii.gz")]
        partial = [name for name in names if name.startswith(".") and name != ".predictions.lock"]
        alone = [name for name in masks if name.replace(".nii.gz", ".json") not in names]
        return f"left {partial + alone}" if partial or alone else ""

    def predict() -> None:
        prediction = find.predict(scans / "0.nii.gz", spool_folder=place)
        prediction.save(out / "0.nii.gz")

    def overwrite() -> None:
        write_text(text, "after" * 5000, overwrite=True)

    def text_is_whole() -> str:
        whole = text.read_text() in ("before", "after" * 5000)
        text.write_text("before")
        return "" if whole else "the text is neither the old nor the new one"

    def in_bulk() -> None:
        bulk.mkdir(exist_ok=True)
        queue = CaseQueue(bulk, bulk / MANIFEST, find.model_sha256)
        try:
            results = Results()
            writer = ScanWriter(find, False, None, None, Listener(), results)
            cases = cases_of(scans_in(scans, ("CT",), bulk, Listener()), scans, bulk, results)
            run_cases(scans, bulk, cases, queue, InThisProcess(writer), Listener(), results)
        finally:
            queue.close()

    def gone(folder: Path) -> Callable[[], str]:
        def check() -> str:
            wrong = left(folder)
            shutil.rmtree(folder, ignore_errors=True)
            return wrong

        return check

    return [
        ("a mask", predict, gone(out)),
        ("a text over another", overwrite, text_is_whole),
        ("a list of predictions", in_bulk, gone(bulk)),
    ]


def main() -> None:
    """Let each write of each action fail with each error, as many as are asked for."""
    from embedded_vit.errors import EmbeddedVitError

    count, place, others = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    disk = Disk()
    for name, act, check in actions(place, others):
        raised, writes = disk.tried(act, 0, 0)
        if raised is not None or not writes:
            raise AssertionError(f"{name} without a fault: {raised!r}, {writes} writes")
        check()
        step = max(1, 3 * len(ERRORS) * writes // max(1, count))
        for nth in range(1, writes + 1, step):
            for error in ERRORS:
                raised, _ = disk.tried(act, nth, error)
                left = check()
                wrong = left
                if raised is None and "list" not in name:
                    wrong = "no error"
                elif raised is not None and (not isinstance(raised, EmbeddedVitError) or "\n" in str(raised)):
                    wrong = f"{type(raised).__name__}: {raised}"
                told = f"{name}, write {nth} of {writes}, {errno.errorcode[error]}: {wrong}"
                sys.stdout.write(f"{'bad' if wrong else 'good'} {told}\n".replace("\r", " "))


if __name__ == "__main__":
    main()
