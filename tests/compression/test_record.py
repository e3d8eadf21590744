from __future__ import annotations

import json
from pathlib import Path

import pytest

from embedded_vit.compression.record import (
    COMPRESSION_FILE,
    Attempt,
    CompressionRecord,
    Measurements,
    StageRecord,
    read_compression_record,
    write_compression_record,
)
from embedded_vit.errors import CheckpointError, ConfigError
from embedded_vit.evaluation.protocol import PROTOCOLS, Score
from embedded_vit.evaluation.results import CaseResult, Evaluation, Provenance
from embedded_vit.evaluation.scores import Scores
from embedded_vit.labels import LabelSet


def record() -> CompressionRecord:
    scores = Scores(
        dice=0.7, jaccard=0.6, hd95=None, nsd=0.5, unit="mm", cases=3, dice_interval=(0.6, 0.8), organs={"liver": 0.7}
    )
    measured = Measurements(
        validation=None,
        test=scores,
        macs=10,
        parameters=100,
        nonzero_parameters=50,
        file_bytes=400,
        deflated_bytes=200,
        latency_ms={"1": 3.0, "2": 2.0},
        previous_latency_ms={"1": 6.0, "2": 2.5},
        peak_memory_mib=80.5,
    )
    stage = StageRecord(
        name="prune_weights",
        settings={"sparsity": 0.5},
        artifact="steps/1-prune_weights/model.onnx",
        measured=measured,
        gate_subset="validation",
        attempts=(
            Attempt(dice=0.1, passed=False, reason="too low"),
            Attempt(protected=("head",), dice=0.7, passed=True),
        ),
        seconds=12.5,
        facts={"zeros": [1, 2]},
    )
    return CompressionRecord(
        original="runs/a",
        data_folder="data",
        recipe={"steps": []},
        stages=(stage,),
        machine="m",
        versions={"torch": "2"},
    )


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_compression_record(tmp_path, record())
    write_compression_record(tmp_path, record())  # in place of the older one
    assert read_compression_record(tmp_path) == record()


def test_the_ratio_is_to_the_file_before() -> None:
    (stage,) = record().stages
    assert stage.measured.latency_ratio("1") == 0.5
    assert stage.measured.model_copy(update={"previous_latency_ms": None}).latency_ratio("1") is None


def test_a_folder_without_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=COMPRESSION_FILE):
        read_compression_record(tmp_path)
    (tmp_path / COMPRESSION_FILE).write_text("[]")
    with pytest.raises(CheckpointError, match="JSON object"):
        read_compression_record(tmp_path)


def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path) -> None:
    values = record().model_dump(mode="json") | {"recpie": {}}
    (tmp_path / COMPRESSION_FILE).write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="did you mean 'recipe'"):
        read_compression_record(tmp_path)


def test_scores_sum_up_an_evaluation() -> None:
    excluded = Score(None, None, None, None)
    cases = [
        CaseResult("a", "test", (Score(0.8, 0.7, 2.0, 0.9), excluded), "mm", 1.0, ""),
        CaseResult("b", "test", (Score(0.6, 0.5, 4.0, 0.7), excluded), "mm", 1.0, ""),
    ]
    evaluation = Evaluation(
        tuple(cases),
        LabelSet.from_names(["liver", "spleen"]),
        PROTOCOLS["strict"],
        "test",
        "mm",
        Provenance({}, {}, "", {}, ""),
    )
    scores = Scores.of(evaluation)
    assert (scores.dice, scores.hd95, scores.cases) == (pytest.approx(0.7), pytest.approx(3.0), 2)
    assert scores.organs == {"liver": pytest.approx(0.7), "spleen": None}
    assert scores.by_case == {"a": pytest.approx(0.8), "b": pytest.approx(0.6)}
    assert scores.dice_interval is not None
    assert scores.dice_interval[0] < 0.7 < scores.dice_interval[1]
