from __future__ import annotations

import numpy as np
import pytest

from embedded_vit.evaluation.statistics import summarise

NAN = np.nan


def test_the_mean_is_over_structures_of_their_means_over_cases() -> None:
    values = np.array([[0.2, 0.9], [0.4, NAN], [0.6, NAN]])
    summary = summarise(values)
    assert [organ.mean for organ in summary.organs] == pytest.approx([0.4, 0.9])
    assert summary.overall.mean == pytest.approx(0.65)  # not the 0.525 of all four values


def test_intervals_match_the_normal_approximation_for_many_cases() -> None:
    values = np.random.default_rng(1).normal(0.7, 0.1, (400, 1))
    (organ,) = summarise(values).organs
    error = values.std() / np.sqrt(400)
    assert organ.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert organ.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_the_overall_interval_draws_whole_cases() -> None:
    # In every case one structure is as good as the other is bad: the mean over both does not move with the cases.
    first = np.random.default_rng(2).uniform(size=30)
    summary = summarise(np.column_stack([first, 1 - first]))
    assert summary.overall.low == pytest.approx(0.5)
    assert summary.overall.high == pytest.approx(0.5)
    assert summary.organs[0].high - summary.organs[0].low > 0.1


def test_one_case_has_a_mean_and_no_interval() -> None:
    (organ,) = summarise(np.array([[0.8]])).organs
    assert (organ.mean, organ.low, organ.high) == (0.8, None, None)


def test_a_structure_excluded_everywhere_has_no_mean_and_spoils_none() -> None:
    summary = summarise(np.array([[0.8, NAN], [0.6, NAN]]))
    assert summary.organs[1].mean is None
    assert summary.overall.mean == pytest.approx(0.7)


def test_the_same_values_give_the_same_interval() -> None:
    values = np.random.default_rng(3).uniform(size=(5, 2))
    assert summarise(values) == summarise(values)


def test_intervals_are_over_patients_not_over_their_cases() -> None:
    # Every patient was scanned four times with the same result: that says no more than one scan of each.
    once = np.random.default_rng(4).uniform(size=(6, 2))
    patients = [f"p{number}" for number in range(6)]
    alone = summarise(once, patients)
    together = summarise(np.repeat(once, 4, axis=0), [name for name in patients for _ in range(4)])
    assert together.overall.low == pytest.approx(alone.overall.low)
    assert together.organs[0].high == pytest.approx(alone.organs[0].high)
    assert alone == summarise(once)  # without patients each case is one
    as_cases = summarise(np.repeat(once, 4, axis=0))
    assert as_cases.overall.high - as_cases.overall.low < 0.7 * (alone.overall.high - alone.overall.low)


def test_one_patient_has_no_interval_however_many_the_cases() -> None:
    (organ, other) = summarise(np.array([[0.8, NAN], [0.6, NAN], [0.7, 0.5]]), ["a", "a", "b"]).organs
    assert organ.low is not None
    assert (other.mean, other.low) == (0.5, None)
    assert summarise(np.array([[0.8], [0.6]]), ["a", "a"]).overall.high is None
