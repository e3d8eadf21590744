from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from embedded_vit.compression.measure import measure_artifact
from embedded_vit.export.exporting import export
from embedded_vit.training.checkpoint import load_checkpoint, save_checkpoint


def test_every_figure_is_of_the_exported_file(trained_run: Path, synapse_folder: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(trained_run)
    network, record = checkpoint.network, checkpoint.record
    with torch.no_grad():
        largest = max(network.parameters(), key=lambda parameter: parameter.numel())
        largest.zero_()
    split = record.split.model_copy(update={"validation": ()})
    run, artifact = tmp_path / "run", tmp_path / "model.onnx"
    save_checkpoint(run, network.state_dict(), checkpoint.config, record.model_copy(update={"split": split}))
    export(run, artifact, data_folder=synapse_folder)
    (tmp_path / "scores" / "test").mkdir(parents=True)
    (tmp_path / "scores" / "test" / "report.html").write_text("of a measurement that was killed")

    measured = measure_artifact(
        artifact, artifact, network, checkpoint.config, synapse_folder, tmp_path / "scores", repeats=3
    )

    written = json.loads((tmp_path / "scores" / "test" / "metrics.json").read_text(encoding="utf-8"))
    assert measured.validation is None
    assert measured.test is not None
    assert measured.test.dice == pytest.approx(written["mean"]["dice"])
    assert measured.test.cases == 2
    assert measured.parameters - measured.nonzero_parameters >= largest.numel()
    assert measured.file_bytes == artifact.stat().st_size > measured.deflated_bytes
    assert measured.latency_ms.keys() == {"1", "2"}
    assert measured.latency_ratio("1") is not None
    assert measured.macs > 0
    assert measured.peak_memory_mib > 20
