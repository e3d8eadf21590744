"""What the verbs write on the terminal: the only place that prints, so that nothing is printed unescaped."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from embedded_vit.printable import printable, printable_text

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["progress_bars", "show", "show_text", "tell"]


def show(line: object) -> None:
    """Print one line on standard output; control characters in it are escaped."""
    print(printable(line), flush=True)


def show_text(text: str) -> None:
    """Print the lines of a text on standard output, which was made of `printable_text` where it holds names."""
    print(printable_text(text.removesuffix("\n").split("\n")), flush=True)


def tell(line: object) -> None:
    """Print one line on standard error; control characters in it are escaped."""
    print(printable(line), file=sys.stderr, flush=True)


def progress_bars() -> Progress:
    """Return bars on standard error that leave no trace: neither on a terminal nor in a file."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_interactive)
