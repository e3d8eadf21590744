"""The node and the page's core at the same time, in a loop: memory stays flat, and nothing goes wrong."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from faults.nodes import node_soaked
from faults.pages import page_soaked
from faults.row import Outcome

MOST_GROWTH = 32 * 2**20  # bytes


def node_and_page_soaked(seconds: int, folder: Path) -> Outcome:
    """Let both work for so many seconds."""
    loops = {"node": node_soaked, "page": page_soaked}
    outcome, notes = Outcome(), []
    with ThreadPoolExecutor() as pool:
        running = {}
        for name, loop in loops.items():
            (folder / name).mkdir()
            running[name] = pool.submit(loop, seconds, folder / name)
        for name, future in running.items():
            tried, grown, wrong = future.result()
            outcome.tried += tried
            if grown > MOST_GROWTH:
                wrong.append(f"memory grew by {grown / 2**20:.1f} MiB")
            outcome.failed += len(wrong)
            outcome.messages += [f"{name}: {each}" for each in wrong[:10]]
            notes.append(f"{name}: {tried} scans, memory {grown / 2**20:+.1f} MiB")
    outcome.note = "; ".join(notes)
    return outcome
