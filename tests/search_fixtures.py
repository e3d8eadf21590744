"""A machine of a known speed, so that a search measures the same everywhere."""

from __future__ import annotations

from typing import Any

from embedded_vit.costs.complexity import complexity
from embedded_vit.search.latency import MeasuredLatency


class ScriptedMeter:
    """A machine that takes 1 ms for every 20 million MACs, and twice that once the search has begun."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def reference_ms(self) -> float:
        return 10.0

    def measure(self, config) -> MeasuredLatency:
        quiet_ms = complexity(config.network, input_channels=config.preprocessing.input_channels).macs / 20e6
        return MeasuredLatency(2 * quiet_ms, 20.0, quiet_ms / 10.0)


def wrong_trials(journal: list[Any], written: list[dict[str, Any]], trials: int) -> list[str]:
    """Compare Optuna's trials with those that the search wrote.

    The candidate of a trial that died is what it was queued with and what was drawn until then; a later trial must have
    been queued with it, and have tried it unless it died too.
    """
    states: dict[str, list[Any]] = {}
    for trial in journal:
        states.setdefault(trial.state.name, []).append(trial)
    done = states.get("COMPLETE", []) + states.get("PRUNED", [])
    numbers = [row["number"] for row in written]
    wrong = [] if len(done) == trials else [f"{len(done)} of {trials} trials are done"]
    wrong += [f"trial {trial.number} is still running" for trial in states.get("RUNNING", [])]
    for each in journal:
        candidate = {**_queued(each), **each.params}
        later = [_queued(other) for other in journal[each.number + 1 :]]
        if each.state.name == "FAIL" and candidate and candidate not in later:
            wrong.append(f"trial {each.number} was lost")
        if each in done and candidate != each.params:
            wrong.append(f"trial {each.number} tried another candidate than it was queued with")
    if sorted(numbers) != sorted(trial.number for trial in done):
        wrong.append(f"search.json has the trials {numbers}")
    return wrong


def _queued(trial: Any) -> dict[str, Any]:
    """Return what a trial was queued with."""
    return trial.system_attrs.get("fixed_params", {})
