"""What pydicom says of a value that it dislikes quotes the file: it goes into no warning and no log."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["without_words"]

_SILENT: ContextVar[bool] = ContextVar("silent", default=False)  # of this thread


def _is_loud(_: logging.LogRecord) -> bool:
    return not _SILENT.get()


logging.getLogger("pydicom").addFilter(_is_loud)


@contextmanager
def without_words() -> Iterator[None]:
    """Drop the warnings and the log entries of pydicom, here and not in other threads."""
    before = _SILENT.set(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _SILENT.reset(before)
