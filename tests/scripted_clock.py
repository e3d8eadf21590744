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

    def process_time(self) -> float:
        """Return the same moment: nobody else computes."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def query(self, name: str, calls: list[str], *milliseconds: float) -> Callable[[], None]:
        """Make a query that takes the given milliseconds, one after another, and records each call."""

        def answer() -> None:
            calls.append(name)
            self.seconds += milliseconds[(calls.count(name) - 1) % len(milliseconds)] / 1000

        return answer


def install(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the computer's clock by this one."""
    clock = Clock()
    monkeypatch.setattr(single_stream, "time", clock)
    return clock
