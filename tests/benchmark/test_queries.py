from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from accuracy_artifacts import organ_graph

from embedded_vit.benchmark.queries import STREAMED_SLICES, generated_scan, make_workload, scan_of_data_set
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.phantom import PhantomSettings, make_phantom
from embedded_vit.engines import ArtifactEngine, load
from embedded_vit.errors import DataSetError
from embedded_vit.predict.segmentation import segment
from embedded_vit.volume import Volume


@pytest.fixture
def engine(make_artifact: Callable[..., Path]) -> ArtifactEngine:
    return load(make_artifact(), threads=1)


@pytest.fixture(scope="module")
def scan() -> Volume:
    scan, _ = make_phantom(0, settings=PhantomSettings(size=64, slices=20))
    return scan


def counted(engine: ArtifactEngine, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Record the shapes that the engine is given from now on."""
    shapes: list[tuple[int, ...]] = []
    run = engine.run
    monkeypatch.setattr(engine, "run", lambda image: shapes.append(image.shape) or run(image))
    return shapes


def test_a_query_of_the_network_is_one_run_of_the_engine(
    engine: ArtifactEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = counted(engine, monkeypatch)
    workload = make_workload("network", engine, None)
    workload.query()
    workload.query()
    assert shapes == [(1, 1, 32, 32)] * 2
    assert workload.samples == 1


def test_queries_of_slices_give_the_labels_of_prediction_and_begin_again(
    engine: ArtifactEngine, scan: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = segment(scan, engine.manifest.contract, engine).array[2:18]  # the middle 16 of 20
    shapes = counted(engine, monkeypatch)
    workload = make_workload("slice", engine, scan)
    assert workload.samples == workload.warmup == STREAMED_SLICES
    for labels in [*expected, *expected[:3]]:
        np.testing.assert_array_equal(workload.query(), labels)
    assert len(shapes) == 19


def test_a_scan_in_another_orientation_is_queried_slice_by_slice_too(engine: ArtifactEngine, scan: Volume) -> None:
    turned = scan.reoriented("LPI")
    query = make_workload("slice", engine, turned).query
    np.testing.assert_array_equal(query(), make_workload("slice", engine, scan).query())


def test_a_query_of_a_volume_segments_all_of_it(
    engine: ArtifactEngine, scan: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = counted(engine, monkeypatch)
    mask = make_workload("volume", engine, scan).query()
    assert len(shapes) == 20
    assert mask.array.shape == scan.shape
    assert mask.array.any()


def test_the_generated_scan_has_the_models_channels(
    make_artifact: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = load(make_artifact(), threads=1).manifest
    two = manifest.preprocessing.model_copy(update={"channels": ("T1w", "FLAIR")})
    scan, name = generated_scan(manifest.model_copy(update={"preprocessing": two}))
    assert (scan.array.shape, scan.array.dtype) == ((2, 64, 512, 512), np.int16)
    assert name == "a generated scan, 2 channels of 64 x 512 x 512 int16"


def test_a_data_set_of_other_structures_is_refused(make_artifact: Callable[..., Path], synapse_folder: Path) -> None:
    with pytest.raises(DataSetError, match="bright"):
        scan_of_data_set(make_artifact(), synapse_folder)


def test_a_data_set_gives_its_first_test_case_and_keeps_its_name(
    make_artifact: Callable[..., Path], synapse_folder: Path
) -> None:
    labels = open_data_set(synapse_folder).labels
    scan, name = scan_of_data_set(make_artifact(organ_graph(), labels=labels), synapse_folder)
    assert scan.array.shape == (1, 12, 96, 96)
    assert "case0" not in name
