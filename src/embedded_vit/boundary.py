"""The boundary around every library that reads a file: whatever it raises on a damaged one becomes one line of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from embedded_vit.errors import EmbeddedVitError, FileFormatError, InputError

__all__ = ["PASSED_ON", "one_line_errors"]

# No byte of a file leads to these: our own words, no memory, and mistakes in our code, which no message may hide.
PASSED_ON = (EmbeddedVitError, MemoryError, NameError, ImportError)

MOST_CHARACTERS = 120  # of what a library says


@contextmanager
def one_line_errors(
    source: object,
    error: type[InputError] = FileFormatError,
    *,
    what: str = "truncated or damaged",
    advice: str = "copy the file again",
    quoted: bool = True,
) -> Iterator[None]:
    """Turn whatever a library raises on a bad file into one line.

    Our own errors pass, and what no damaged file can lead to (`PASSED_ON`).

    Args:
        source: The file, for messages.
        error: What to raise.
        what: What is wrong with the file if a library stumbles over it.
        advice: What to do.
        quoted: Whether the library's words may be repeated; not where they quote text of patients.

    Raises:
        error: The file is missing, cannot be read or is damaged.
    """
    try:
        yield
    except PASSED_ON:
        raise
    except FileNotFoundError as problem:
        raise error(f"{source}: there is no such file") from problem
    except Exception as problem:  # the libraries raise whatever a damaged byte leads to
        if isinstance(problem, OSError) and (problem.errno is not None or not quoted):
            reason = (problem.strerror or type(problem).__name__).split("\n")[0]
            raise error(f"{source}: cannot be read: {reason:.{MOST_CHARACTERS}}") from problem
        if not quoted:
            raise error(f"{source}: {what} ({type(problem).__name__}); {advice}") from None
        reason = str(problem).strip().split("\n")[0] or type(problem).__name__
        raise error(f"{source}: {what}: {reason:.{MOST_CHARACTERS}}; {advice}") from problem
