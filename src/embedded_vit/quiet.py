"""Keeps the remarks of other libraries from the user's terminal."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without_warnings"]


@contextmanager
def without_warnings(logger_name: str | None = None) -> Iterator[None]:
    """Silence Python's warnings and what a logger says below an error.

    Args:
        logger_name: The logger of a library; None is the root logger.
    """
    logger = logging.getLogger(logger_name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
