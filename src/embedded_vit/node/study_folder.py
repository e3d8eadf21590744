"""The folder of a node: what was received and not sent on yet. Only its owner may look into it.

    queue.sqlite                     the queue
    audit.log                        what happened, without patients
    incoming/                        objects that are being received
    studies/NUMBER/images/SERIES/    images, in files that digests of their UIDs name
    studies/NUMBER/results/          what is sent on
    models/SHA256.onnx               the versions of the model that studies began with

A file has its name only when all of it is on the disk. The files of a study are removed once it was sent on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from embedded_vit.errors import ConfigError
from embedded_vit.io.atomic import check_folder, flush

__all__ = ["StudyFolder", "short_digest"]

OWNER_ONLY = 0o700


def short_digest(uid: str) -> str:
    """Return 32 hexadecimal digits that name a UID, and are a safe name for a file."""
    return hashlib.sha256(uid.encode()).hexdigest()[:32]


class StudyFolder:
    """The folder, and how many bytes of it are taken; any thread may call."""

    def __init__(self, path: Path, store_bytes: int) -> None:
        """Make the folder if it is not there.

        Raises:
            OutputError: It cannot be made or written.
            ConfigError: It holds something else than a node's files.
        """
        check_folder(path)
        self.path = path
        self.incoming, self.models, self._studies = path / "incoming", path / "models", path / "studies"
        if path.exists() and any(path.iterdir()) and not self.queue_path.exists() and not self.lock_path.exists():
            raise ConfigError(f"{path}: holds other files; give an empty or a new folder as --store")
        path.mkdir(mode=OWNER_ONLY, parents=True, exist_ok=True)
        path.chmod(OWNER_ONLY)
        for folder in (self.incoming, self.models, self._studies):
            folder.mkdir(mode=OWNER_ONLY, exist_ok=True)
        self._lock, self._store_bytes = threading.Lock(), store_bytes
        self._taken: dict[int, int] = {}  # bytes of the files of each study
        self._flushed: set[Path] = set()  # folders whose names are on the disk
        self._reserved = 0  # bytes of images that find their place just now

    @property
    def queue_path(self) -> Path:
        """The file of the queue."""
        return self.path / "queue.sqlite"

    @property
    def lock_path(self) -> Path:
        """The file that a running node holds a lock on."""
        return self.path / "lock"

    def _study(self, number: int) -> Path:
        return self._studies / str(number)

    def images(self, number: int) -> Path:
        """Return the folder of a study's series."""
        return self._study(number) / "images"

    def results(self, number: int) -> Path:
        """Return the folder of what is sent on."""
        return self._study(number) / "results"

    def image_count(self, number: int) -> int:
        """Return how many images of a study there are."""
        return sum(len(files) for _, _, files in os.walk(self.images(number)))

    def result_files(self, number: int) -> list[Path]:
        """Return the files that are to be sent on, in an order that stays."""
        return sorted(self.results(number).iterdir())

    @property
    def taken_bytes(self) -> int:
        """How much is taken, with what is reserved."""
        with self._lock:
            return self._reserved + sum(self._taken.values())

    def keep(self, received: Path, number: int, series: str, instance: str) -> None:
        """Move a received object to its place, and wait until it is on the disk; a second copy replaces the first.

        Args:
            received: The file in `incoming`, for which there is room (`reserved`).
            number: Of its study.
            series, instance: Its UIDs.

        Raises:
            OSError: The disk does not take it.
        """
        folder = self.images(number) / short_digest(series)
        folder.mkdir(mode=OWNER_ONLY, parents=True, exist_ok=True)
        flush(received)
        place = folder / short_digest(instance)
        with self._lock:  # who else brings the same image must see this one as the first
            more = received.stat().st_size - (place.stat().st_size if place.exists() else 0)
            received.replace(place)
            self._taken[number] = self._taken.get(number, 0) + more
        flush(folder)
        for made in (folder, *folder.parents[:2]):  # by this thread, or by another one that has not flushed them yet
            if made not in self._flushed:
                flush(made.parent)
                self._flushed.add(made)

    @contextmanager
    def reserved(self, size: int) -> Iterator[bool]:
        """Hold room for an object while it finds its place; False where the store would be too full."""
        with self._lock:
            fits = self._reserved + sum(self._taken.values()) + size <= self._store_bytes
            self._reserved += size if fits else 0
        try:
            yield fits
        finally:
            with self._lock:
                self._reserved -= size if fits else 0

    def remove(self, number: int) -> None:
        """Remove the files of a study."""
        study = self._study(number)
        shutil.rmtree(study, ignore_errors=True)
        self._flushed -= {folder for folder in list(self._flushed) if folder == study or study in folder.parents}
        self.measure(number)

    def measure(self, number: int) -> None:
        """Count the bytes of a study again, as another process wrote to it."""
        taken = 0
        for folder, _, files in os.walk(self._study(number)):
            for name in files:
                with suppress(FileNotFoundError):  # another process has just moved or removed it
                    taken += os.stat(os.path.join(folder, name)).st_size
        with self._lock:
            self._taken[number] = taken
            if taken == 0:
                del self._taken[number]

    def sweep(self, live: Iterable[int]) -> None:
        """Remove what a killed node left: half-received objects, files of finished studies, unfinished results.

        Args:
            live: The numbers of the studies whose files stay.
        """
        for path in self.incoming.iterdir():
            path.unlink()
        names = {str(number) for number in live}
        for folder in self._studies.iterdir():
            if folder.name not in names:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                for left in folder.iterdir():
                    if left.is_file():
                        left.unlink()
                    elif left not in (self.images(int(folder.name)), self.results(int(folder.name))):
                        shutil.rmtree(left, ignore_errors=True)
                self.measure(int(folder.name))
