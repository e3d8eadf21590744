from __future__ import annotations

import sys
from pathlib import Path

import example_result as example
import pytest

from embedded_vit.benchmark.latency_plot import latency_figure
from embedded_vit.benchmark.result_file import check_output, read_result, save_result
from embedded_vit.errors import FileFormatError, OutputError


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    result = example.result(accuracy=example.accuracy())
    assert save_result(result, tmp_path / "bench.json") == tmp_path / "bench.png"
    assert read_result(tmp_path / "bench.json") == result
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_neither_file_is_written_over_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "bench.png").write_text("kept")
    with pytest.raises(OutputError, match=r"bench\.png: exists already"):
        save_result(example.result(), tmp_path / "bench.json")
    assert [path.name for path in tmp_path.iterdir()] == ["bench.png"]
    save_result(example.result(), tmp_path / "bench.json", overwrite=True)
    assert (tmp_path / "bench.png").read_bytes() != b"kept"
    with pytest.raises(OutputError, match=r"bench\.json: exists already"):
        check_output(tmp_path / "bench.json", overwrite=False)


def test_a_name_that_the_plot_would_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.json"):
        check_output(tmp_path / "bench.png", overwrite=True)


def test_without_matplotlib_there_is_a_result_and_no_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "embedded_vit.benchmark.latency_plot", raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert save_result(example.result(), tmp_path / "bench.json") is None
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


@pytest.mark.parametrize("text", ["", "[]", '{"format_version": 2}', "\x00"])
def test_what_is_no_result_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "bench.json").write_text(text)
    with pytest.raises(FileFormatError, match=r"bench\.json: not a benchmark result") as refused:
        read_result(tmp_path / "bench.json")
    assert "\n" not in str(refused.value)
    with pytest.raises(FileFormatError, match="cannot read"):
        read_result(tmp_path / "missing.json")


def test_the_axes_of_the_plot_begin_at_zero_and_the_noisy_panel_says_so() -> None:
    noisy = example.measurement(threads=2, trusted=False, distrust_reasons=("the load average was 3",))
    trusted_panel, noisy_panel = latency_figure(example.result(example.measurement(), noisy)).axes
    for panel in (trusted_panel, noisy_panel):
        assert (panel.get_xlim()[0], panel.get_ylim()[0]) == (0, 0)
        assert len(panel.get_legend().get_texts()) == 2
    assert trusted_panel.get_title() == "1 thread"
    assert noisy_panel.get_title("left").startswith("2 threads: NOT TRUSTED\n- the load average was 3")


def test_queries_beyond_the_axis_are_counted_in_words() -> None:
    latency = example.measurement(models=1).timings[0].latency
    outlier = latency.model_copy(update={"samples_ms": (*latency.samples_ms, 900.0)})
    timing = example.measurement(models=1).timings[0].model_copy(update={"latency": outlier})
    [panel] = latency_figure(example.result(example.measurement(models=1, timings=(timing,)), count=1)).axes
    assert panel.get_xlim()[1] < 100
    assert "1 beyond the axis, the slowest 900 ms" in panel.get_legend().get_texts()[0].get_text()
