"""How a prediction shows its progress on standard error: a bar for people, or JSON lines for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from embedded_vit.cli.showing import progress_bars, tell
from embedded_vit.printable import bar_text, printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from embedded_vit.predict.listener import Listener, Tally

__all__ = ["shown"]


@contextmanager
def shown(kind: str, *, slices: bool) -> Iterator[Listener]:
    """Give a listener that shows progress while the `with` statement runs.

    Args:
        kind: "bar" or "json".
        slices: Whether a bar shows the slices of each scan, and not the scans of a folder.
    """
    if kind == "json":
        yield _json_lines()
        return
    from embedded_vit.predict.listener import Listener

    with progress_bars() as progress:

        def say(sentence: object) -> None:
            progress.console.out(f"embedded-vit: {printable(sentence)}", highlight=False)

        if slices:
            yield Listener(lambda path: _slice_bar(progress, path.name), on_failure=say, on_remark=say)
        else:
            yield Listener(on_failure=say, on_remark=say, on_tally=_case_bar(progress))


def _slice_bar(progress: Progress, name: str) -> Callable[[int, int], None]:
    """Add a progress bar for one scan; return the function that moves it."""
    bar = progress.add_task(bar_text(name), total=None)
    return lambda done, total: progress.update(bar, completed=done, total=total)


def _case_bar(progress: Progress) -> Callable[[Tally], None]:
    """Add a progress bar for all cases; return the function that moves it."""
    bar = progress.add_task("cases", total=None)

    def move(tally: Tally) -> None:
        text = f"{tally.ended} of {tally.cases} cases, {tally.failed} failed, {tally.workers} workers, "
        rate = f"{tally.cases_per_minute:.1f} a minute"
        progress.update(bar, description=bar_text(text + rate), completed=tally.ended, total=tally.cases)

    return move


def _json_lines() -> Listener:
    from embedded_vit.predict.listener import Listener

    def tally(state: Tally) -> None:
        rest = state.remaining_seconds
        _line(
            event="progress",
            cases=state.cases,
            there=state.there,
            done=state.done,
            failed=state.failed,
            running=state.running,
            workers=state.workers,
            seconds=round(state.seconds, 1),
            cases_per_minute=round(state.cases_per_minute, 2),
            remaining_seconds=None if rest is None else round(rest, 1),
            last=None if state.last is None else str(state.last),
        )

    return Listener(
        on_failure=lambda error: _line(event="failed", message=str(error)),
        on_remark=lambda sentence: _line(event="remark", message=sentence),
        on_tally=tally,
    )


def _line(**values: object) -> None:
    """Print one JSON object; it is ASCII, so nothing in it moves a terminal."""
    tell(json.dumps(values))
