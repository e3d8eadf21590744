"""A clock that only queries move, so that no test depends on how fast the computer is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from embedded_vit.engines import single_stream


class Clock:
    """Stands still until a query or a sleep moves it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def query(self, name: str, calls: list[str], *milliseconds: float) -> Callable[[], None]:
        """A query that takes the milliseconds it is told to, one after another, and says that it was called."""

        def answer() -> None:
            calls.append(name)
            self.seconds += milliseconds[(calls.count(name) - 1) % len(milliseconds)] / 1000

        return answer


def install(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Put the clock in the place of the computer's."""
    clock = Clock()
    monkeypatch.setattr(single_stream, "time", clock)
    return clock
