"""Print the processor time of the tests by file, as a plugin of pytest.

    python -m pytest -p benchmarks.cost_of_tests [--numprocesses auto --dist loadfile]

The time of a test is that of its process and of the processes that it started and waited for, with its fixtures. A
fixture that several tests share is counted for the first of them.
"""

from __future__ import annotations

import resource
from collections import defaultdict
from collections.abc import Generator

import pytest

SECONDS = "processor seconds"
LARGEST = 30
_last = 0.0  # the processor time of this process when the last phase of a test ended
_sums: dict[str, float] = defaultdict(float)  # in the process that prints, by file


def pytest_runtest_logstart() -> None:
    """Begin with a test: what ran between two tests belongs to neither."""
    global _last
    _last = _processor_time()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write the time of a phase (setup, call, teardown) into its report, which also comes back from workers."""
    global _last
    report = yield
    now = _processor_time()
    report.user_properties.append((SECONDS, now - _last))
    _last = now
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add a report to the sum of its file; that of a worker that died has no time."""
    for name, value in report.user_properties:
        if name == SECONDS and isinstance(value, float):
            _sums[report.nodeid.split("::")[0]] += value


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the files with the longest times."""
    terminalreporter.write_line(f"\n| file | {SECONDS} |\n|---|---|")
    for path in sorted(_sums, key=lambda path: -_sums[path])[:LARGEST]:
        terminalreporter.write_line(f"| {path} | {_sums[path]:.1f} |")
    terminalreporter.write_line(f"| all {len(_sums)} files | {sum(_sums.values()):.1f} |")


def _processor_time() -> float:
    """Return the seconds that this process and its finished children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
