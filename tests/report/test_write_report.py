"""From run folders to the three files, on the command line."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import torch
from artifact_fixtures import RunVerb
from example_rows import example_measurements, example_scores

from embedded_vit.compression.record import (
    Attempt,
    CompressionRecord,
    StageRecord,
    read_compression_record,
    write_compression_record,
)
from embedded_vit.costs.complexity import complexity
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import make_split
from embedded_vit.errors import CheckpointError, ConfigError, DataSetError, OutputError
from embedded_vit.export.exporting import export
from embedded_vit.labels import LabelSet
from embedded_vit.models.registry import build_network, network_config
from embedded_vit.report.rows import rows_of_run
from embedded_vit.report.tables import columns_for, markdown_table
from embedded_vit.report.write import _epochs_note, write_report
from embedded_vit.training.checkpoint import (
    EpochMetrics,
    TrainingRecord,
    describe_run,
    load_checkpoint,
    read_record,
    read_run_config,
    save_checkpoint,
)
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.training import plan


def save_untrained(folder: Path, data: Path, **changes) -> Path:
    """A run of a small network that was never trained."""
    data_set = open_data_set(data)
    torch.manual_seed(0)
    architecture = {"image_size": 32, "family": "hybrid", "widths": (16, 32), "depth": 1}
    config = plan(data_set, network=None, architecture=architecture, training=TrainingConfig.for_recipe("modern"))
    record = TrainingRecord(data_folder=str(data), data_fingerprint="0" * 64, split=make_split(data_set, seed=0))
    config = config.model_copy(update=changes)
    save_checkpoint(folder, build_network(config.network).state_dict(), config, record)
    return folder


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory, synapse_folder: Path) -> Path:
    return save_untrained(tmp_path_factory.mktemp("runs") / "plain", synapse_folder)


@pytest.fixture(scope="module")
def compressed_run(tmp_path_factory: pytest.TempPathFactory, plain_run: Path, synapse_folder: Path) -> Path:
    """The same run with a record of two stages, which share one file."""
    folder = tmp_path_factory.mktemp("runs") / "compressed"
    shutil.copytree(plain_run, folder)
    export(plain_run, folder / "model.onnx", data_folder=synapse_folder)
    organs = dict.fromkeys(load_checkpoint(plain_run).config.labels.names, 0.5)
    scores = example_scores().model_copy(update={"organs": organs})
    settings = {"artifact": "model.onnx", "gate_subset": "validation", "seconds": 1.0}
    stages = (
        StageRecord(name="original", measured=example_measurements(test=scores), **settings),
        StageRecord(
            name="prune_weights",
            measured=example_measurements(test=scores, nonzero_parameters=165_000),
            **settings,
        ),
    )
    record = CompressionRecord(
        original=str(plain_run),
        data_folder=str(synapse_folder),
        recipe={},
        stages=stages,
        gate_failed="step 2 lost too much",
        machine="",
        versions={},
    )
    write_compression_record(folder, record)
    return folder


def rows_in(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_the_command_writes_a_page_markdown_and_csv(compressed_run: Path, tmp_path: Path, run_verb: RunVerb) -> None:
    page = tmp_path / "report.html"
    status, shown, told = run_verb("report", compressed_run, "--output", page)
    assert status == 0, told
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.md", "report.csv"}
    assert "2 rows" in shown
    assert [row["step"] for row in rows_in(tmp_path / "report.csv")] == ["original", "1 prune_weights"]
    assert "compressed was stopped by its gate: step 2 lost too much" in page.read_text(encoding="utf-8")


def test_the_page_says_what_folding_saves_in_networks_that_have_a_published_form(
    synapse_folder: Path, tmp_path: Path
) -> None:
    config = network_config(image_size=32, widths=(16, 24), depth=1, classes=9)
    plain = save_untrained(tmp_path / "plain", synapse_folder, network=config)
    around = save_untrained(
        tmp_path / "around", synapse_folder, network=config.model_copy(update={"convolution_widths": (4, 8)})
    )
    write_report([plain, around], tmp_path / "report.html")
    (line,) = [line for line in (tmp_path / "report.md").read_text(encoding="utf-8").splitlines() if "folding" in line]
    costs = complexity(config)
    assert line.startswith(f"- plain: folding saves {1 - costs.macs / costs.naive_macs:.0%} of the MACs")


def test_points_to_compare_with_are_told_from_our_own(compressed_run: Path, tmp_path: Path) -> None:
    points = tmp_path / "others.csv"
    points.write_text("name,dice,macs\nU-Net,0.7,4e9\n")
    write_report([compressed_run], tmp_path / "with.html", compare=points)
    write_report([compressed_run], tmp_path / "without.html")
    for suffix in (".html", ".md"):
        assert "Diamonds are the points of others.csv" in (tmp_path / f"with{suffix}").read_text(encoding="utf-8")
        assert "Diamonds" not in (tmp_path / f"without{suffix}").read_text(encoding="utf-8")


def test_points_that_cannot_be_read_are_refused_before_anything_is_measured(
    compressed_run: Path, tmp_path: Path, run_verb: RunVerb
) -> None:
    points, page = tmp_path / "others.csv", tmp_path / "report.html"
    points.write_text("name,dice,macs\nU-Net,70,4e9\n")
    status, _, told = run_verb("report", compressed_run, "--output", page, "--compare", points)
    assert status == 2
    assert "others.csv, line 2: dice" in told
    assert told.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["others.csv"]


def test_a_run_that_was_not_compressed_is_exported_and_measured(
    plain_run: Path, compressed_run: Path, tmp_path: Path
) -> None:
    write_report([plain_run, compressed_run], tmp_path / "report.html")
    measured, *others = rows_in(tmp_path / "report.csv")
    assert (measured["run"], measured["step"], measured["test_cases"]) == ("plain", "", "2")
    assert int(measured["file_bytes"]) == (compressed_run / "model.onnx").stat().st_size
    assert all(float(row["p50_ms_2_threads"]) > 0 for row in [measured, *others])
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.count("<figure>") == 2 + 3  # slice, truth, and every row
    assert "case0005, slice" in html
    assert {path.name for path in plain_run.iterdir()} == {"config.json", "model.safetensors", "training.json"}


def test_nothing_is_measured_where_a_file_is_in_the_way(plain_run: Path, tmp_path: Path) -> None:
    (tmp_path / "report.csv").write_text("kept")
    with pytest.raises(OutputError, match=r"report\.csv"):
        write_report([plain_run], tmp_path / "report.html")


@pytest.mark.parametrize(("output", "named"), [("report.pdf", "ends in .html"), ("report", "ends in .html")])
def test_another_kind_of_file_is_refused(plain_run: Path, tmp_path: Path, output: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        write_report([plain_run], tmp_path / output)


def test_runs_of_other_structures_are_refused(plain_run: Path, synapse_folder: Path, tmp_path: Path) -> None:
    other = save_untrained(tmp_path / "other", synapse_folder, labels=LabelSet.from_names(["heart"]))
    with pytest.raises(ConfigError, match="other structures"):
        write_report([plain_run, other], tmp_path / "report.html")


def test_a_run_whose_data_are_gone_says_how_to_name_them(plain_run: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(plain_run)
    record = read_record(plain_run).model_copy(update={"data_folder": str(tmp_path / "gone")})
    save_checkpoint(tmp_path / "moved", checkpoint.network.state_dict(), checkpoint.config, record)
    with pytest.raises(DataSetError, match="--data"):
        write_report([tmp_path / "moved"], tmp_path / "report.html")


def test_a_file_that_the_record_names_must_be_there(compressed_run: Path, tmp_path: Path) -> None:
    incomplete = tmp_path / "incomplete"
    shutil.copytree(compressed_run, incomplete)
    (incomplete / "model.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"model\.onnx: missing"):
        write_report([incomplete], tmp_path / "report.html")


def test_epochs_of_every_row_count_what_the_steps_trained(compressed_run: Path, tmp_path: Path) -> None:
    """An undertrained run that was pruned with more epochs: its higher Dice may come from these."""
    run = Path(shutil.copytree(compressed_run, tmp_path / "run"))
    row = EpochMetrics(
        epoch=1, loss=1, validation_dice=None, learning_rate=1, images_per_second=1, loading_fraction=0, seconds=1
    )
    record, config = read_record(run), read_run_config(run)

    def trained(folder: Path, epochs: int, coarse_epochs: int = 0) -> None:
        describe_run(
            folder,
            config.with_training(coarse_epochs=coarse_epochs),
            record.model_copy(update={"epochs": (row,) * epochs}),
        )

    trained(run / "steps" / "0-original", 8, coarse_epochs=2)
    for attempt, rounds in (("attempt-1", (3, 3)), ("attempt-2", (7, 9))):  # the second one passed
        for number, epochs in enumerate(rounds):
            trained(run / "steps" / "1-prune_channels" / attempt / f"round-{number}", epochs)
    stages = read_compression_record(run).stages
    attempt = Attempt(dice=0.5, passed=True)
    changed = (
        stages[0].model_copy(update={"artifact": "steps/0-original/model.onnx"}),
        stages[1].model_copy(
            update={
                "name": "prune_channels",
                "artifact": "steps/1-prune_channels/model.onnx",
                "attempts": (attempt, attempt),
            }
        ),
        stages[1].model_copy(update={"name": "quantize", "artifact": "steps/2-quantize/model.onnx"}),
    )
    write_compression_record(run, read_compression_record(run).model_copy(update={"stages": changed}))
    rows = rows_of_run(run, None, tmp_path / "work", threads=1)
    assert [(row.epochs, row.step_epochs) for row in rows] == [(10, 0), (26, 16), (26, 0)]
    note = _epochs_note(run, rows)
    assert note.startswith("run: steps trained the network for more epochs (1 prune_channels: 16 after 10). A Dice")
    assert _epochs_note(tmp_path, rows) == ""
    table = markdown_table(rows, columns_for("mm"), [])
    assert "| 26 (16 in this step) |" in table
