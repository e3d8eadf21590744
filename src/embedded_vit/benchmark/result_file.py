"""A benchmark's result as files: JSON, and a plot beside it."""

from __future__ import annotations

from pathlib import Path

from embedded_vit.benchmark.result import BenchmarkResult
from embedded_vit.errors import FileFormatError, OutputError
from embedded_vit.io.atomic import refuse_existing, write_text

__all__ = ["check_output", "plot_path", "read_result", "save_result"]


def plot_path(output: Path) -> Path:
    """Return the path of the plot beside a result: `bench.json` -> `bench.png`."""
    return output.with_suffix(".png")


def check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse an output file before anything is measured.

    Raises:
        OutputError: Its name does not end in .json, or it or the plot exists and may not be overwritten.
    """
    if output.suffix.lower() != ".json":
        raise OutputError(f"{output}: results are written as JSON; choose a name that ends in .json")
    if not overwrite:
        refuse_existing(output)
        refuse_existing(plot_path(output))


def save_result(result: BenchmarkResult, output: Path, *, overwrite: bool = False) -> Path | None:
    """Write the result as JSON, and the plot beside it where matplotlib is installed.

    Returns:
        The plot's path; None without matplotlib.

    Raises:
        OutputError: A file exists, or cannot be written.
    """
    check_output(output, overwrite=overwrite)
    write_text(output, result.model_dump_json(indent=1) + "\n", overwrite=overwrite)
    try:
        from embedded_vit.benchmark.latency_plot import save_latency_plot
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        return None
    save_latency_plot(result, plot_path(output), overwrite=overwrite)
    return plot_path(output)


def read_result(path: Path) -> BenchmarkResult:
    """Read what `save_result` wrote.

    Raises:
        FileFormatError: The file cannot be read, or is not a result of this version.
    """
    try:
        return BenchmarkResult.model_validate_json(path.read_bytes())
    except OSError as error:
        raise FileFormatError(f"{path}: cannot read it: {error.strerror or error}") from error
    except ValueError as error:
        raise FileFormatError(f"{path}: not a benchmark result of this version; run the benchmark again") from error
