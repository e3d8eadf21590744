"""The identity of a data set's content: what is made from files is used again only while the files are the same.

Prepared slices, finished trainings, evaluations, searches and compressions compare it. A file whose size and times are
those of an earlier look is not read again, unless it was written so shortly before that look that a later change may
have left the same times.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from embedded_vit.config import Config
from embedded_vit.datasets.data_set import DataSet
from embedded_vit.io.digest import sha256_of

__all__ = ["FileStamp", "case_contents", "combined", "data_content", "file_stamps"]

SETTLED_NS = 2_000_000_000  # file systems keep times to 2 seconds or better
MISSING = "missing"


class FileStamp(Config):
    """A file as it was when it was looked at."""

    size: int
    modified_ns: int
    changed_ns: int  # of the directory entry; a program cannot set it back
    sha256: str
    settled: bool  # whether a later change must show in the times


Stamps = dict[str, FileStamp]  # path -> stamp


def file_stamps(data_set: DataSet, names: Iterable[str], known: Mapping[str, FileStamp] | None = None) -> Stamps:
    """Look at every file of the named cases.

    Args:
        data_set: Where the cases are.
        names: Cases.
        known: Stamps of an earlier look; the content of a file that has not changed since is taken from there.

    Raises:
        DataSetError: There is no such case.
        FileFormatError: A file cannot be read.
    """
    paths = [path for name in names for path in data_set.files_of(data_set.case(name))]
    return {str(path): _stamp(path, (known or {}).get(str(path))) for path in paths}


def case_contents(data_set: DataSet, names: Iterable[str], stamps: Mapping[str, FileStamp]) -> dict[str, str]:
    """Return a digest of each case: its files, its structures, modality and channels; no path counts.

    Args:
        data_set: Where the cases are.
        names: Cases.
        stamps: Of all their files.
    """
    labels = data_set.labels.model_dump(mode="json", exclude={"regions"})  # which no mask depends on
    meaning = [data_set.modality, data_set.channels, labels]
    contents = {}
    for case in map(data_set.case, names):
        parts: list[object] = [meaning, [stamps[str(path)].sha256 for path in data_set.files_of(case)]]
        if case.unlabelled or data_set.numbering:
            parts.append([case.unlabelled, data_set.numbering])
        contents[case.name] = _digest(parts)
    return contents


def combined(contents: Mapping[str, str], names: Iterable[str]) -> str:
    """Return one digest of the named cases' contents."""
    return _digest({name: contents[name] for name in names})


def data_content(data_set: DataSet, names: Iterable[str]) -> str:
    """Return one digest of the named cases as they are now; errors as `file_stamps`."""
    names = sorted(names)
    return combined(case_contents(data_set, names, file_stamps(data_set, names)), names)


def _stamp(path: Path, known: FileStamp | None) -> FileStamp:
    now_ns = time.time_ns()
    try:
        status = path.stat()
    except FileNotFoundError:  # who reads the case says so
        return FileStamp(size=0, modified_ns=0, changed_ns=0, sha256=MISSING, settled=False)
    except OSError:
        sha256_of(path)  # which says why
        raise
    times = {"modified_ns": status.st_mtime_ns, "changed_ns": status.st_ctime_ns}
    if known is not None and known.settled:
        same = known.model_copy(update={"size": status.st_size, **times})
        if same == known:
            return known
    settled = now_ns - max(times.values()) > SETTLED_NS
    return FileStamp(size=status.st_size, **times, sha256=sha256_of(path), settled=settled)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
