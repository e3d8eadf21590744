"""The paper's table: what was trained and measured before is read, not done again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from embedded_vit.compression.record import Measurements
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import make_split
from embedded_vit.evaluation.scores import Scores
from embedded_vit.io.digest import sha256_of
from embedded_vit.models.registry import build_network
from embedded_vit.training.checkpoint import TrainingRecord, save_checkpoint
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.training import plan

SCRIPT = Path(__file__).resolve().parents[2] / "paper" / "table.py"


def run_table(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def save_run(folder: Path, data: Path) -> None:
    data_set = open_data_set(data)
    torch.manual_seed(0)
    config = plan(data_set, network="embedded-vit-64", architecture={}, training=TrainingConfig.for_recipe("paper"))
    record = TrainingRecord(data_folder=str(data), data_fingerprint="0" * 64, split=make_split(data_set, seed=0))
    save_checkpoint(folder, build_network(config.network).state_dict(), config, record)


def test_a_measured_run_becomes_a_row_in_the_papers_layout(synapse_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "embedded-vit-64"
    save_run(run, synapse_folder)
    measured = Measurements(
        validation=None,
        test=Scores(dice=0.612, jaccard=0.5, hd95=34.56, nsd=0.4, unit="voxels", cases=2),
        macs=44_969_984,
        parameters=330_169,
        nonzero_parameters=330_169,
        file_bytes=1_420_000,
        deflated_bytes=1_230_000,
        latency_ms={"1": 8.76, "2": 6.54},
        peak_memory_mib=90,
    )
    digest = sha256_of(run / "model.safetensors")[:8]
    folder = tmp_path / "measured" / f"embedded-vit-64-{digest}-on-{synapse_folder.name}"
    folder.mkdir(parents=True)
    (folder / "measured.json").write_text(measured.model_dump_json())
    output = tmp_path / "table.md"
    done = run_table(run, "--data", synapse_folder, "--runs", tmp_path, "--output", output, "--networks")
    assert done.returncode == 0, done.stderr
    text = output.read_text(encoding="utf-8")
    assert done.stdout.strip() == text.strip()
    assert "| embedded-vit-64 | paper | 0 | 0.655 | 0.612 | 34.6 | 0.33 M (1.31 M) | 0.045 G (0.060 G) |" in text
    assert "| 8.8 ms | 6.5 ms |" in text
    assert "Research use only" in text


def test_a_missing_data_set_is_one_line(tmp_path: Path) -> None:
    done = run_table("--data", tmp_path / "none", "--runs", tmp_path, "--networks")
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "none" in done.stderr
