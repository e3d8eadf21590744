from __future__ import annotations

import example_result as example
import pytest

from embedded_vit.benchmark.result_table import result_text

NOISY = {"trusted": False, "distrust_reasons": ("other processes kept 1.36 cores busy, and only 1 of 2 were free",)}


def row(text: str, first: str) -> list[str]:
    """Return the cells of the last line that begins with a model's letter."""
    return [line for line in text.splitlines() if line.startswith(f"{first}  ")][-1].split()


def test_every_figure_of_a_model_stands_in_its_row() -> None:
    text = result_text(example.result())
    assert float(row(text, "B")[1]) == pytest.approx(10, abs=0.1)
    assert row(text, "B")[-5:] == ["300", "50", "40", "106", "0.0125"]
    assert "speed-up of B over A: 2.0" in text
    assert "faster in 200 of 200" in text
    for fact in ("A processor", "avx2 fma", "governor performance", "682.8", "5.31", "onnxruntime 1.2.3", "int8"):
        assert fact in text
    assert "[" not in text


def test_untrusted_figures_stand_in_brackets_with_the_reason() -> None:
    text = result_text(example.result(example.measurement(**NOISY)))
    cells = row(text, "A")
    assert all(cell.startswith("[") for cell in [*cells[1:9], cells[10]])
    assert cells[9] == "106"  # memory does not depend on the noise
    assert "speed-up of B over A: [2.0" in text
    assert "NOT TRUSTED" in text
    assert f"- {NOISY['distrust_reasons'][0]}" in text


def test_only_the_noisy_measurement_is_in_brackets() -> None:
    text = result_text(example.result(example.measurement(), example.measurement(threads=2, **NOISY)))
    first, second = text.split("2 threads, ")
    assert "[" not in first
    assert "[" in second


def test_no_line_is_longer_than_100_columns() -> None:
    long = {"trusted": False, "distrust_reasons": ("because " * 30,)}
    models = (example.model("a/very/long/folder" * 8, "fp32"), example.model("after", "int8"))
    text = result_text(example.result(example.measurement(**long), models=models, accuracy=example.accuracy()))
    assert max(map(len, text.splitlines())) <= 100


def test_gates_are_passed_or_failed_in_words() -> None:
    assert "gate of 99 % passed, gate of 99.9 % FAILED" in result_text(example.result(accuracy=example.accuracy()))
    assert "gate of 99 % FAILED" in result_text(example.result(accuracy=example.accuracy(second=0.6)))
    one = example.accuracy().model_copy(update={"dice": example.accuracy().dice[:1], "no_gate_because": "one model"})
    text = result_text(example.result(count=1, accuracy=one))
    assert "no accuracy gate: one model" in text
    assert "0.7500 (95 % over patients: 0.700 to 0.800)" in text


def test_missing_energy_has_its_reason() -> None:
    timings = tuple(each.model_copy(update={"joules_per_query": None}) for each in example.measurement().timings)
    text = result_text(example.result(example.measurement(timings=timings), energy_source="no RAPL counter here"))
    assert "no energy: no RAPL counter here" in text
    assert "no energy" not in result_text(example.result())


def test_models_in_different_engines_name_theirs() -> None:
    first, second = example.measurement().timings
    second = second.model_copy(update={"engine": "openvino", "engine_version": "2026.4.1-22982-release"})
    text = result_text(example.result(example.measurement(timings=(first, second))))
    assert "1 thread, A in onnxruntime 1.2.3, B in openvino 2026.4.1: 200 queries" in text
