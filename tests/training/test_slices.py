"""Training slices: prepared once, put together by the batch."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embedded_vit.datasets import open_data_set
from embedded_vit.errors import DataSetError, FileFormatError
from embedded_vit.preprocessing import Preprocessing, network_inputs
from embedded_vit.training.slices import SliceSet, prepare_slices

CT = Preprocessing.for_modality("CT", image_size=32)


def numbered_slices(case_lengths: list[int]) -> SliceSet:
    """Slices whose pixels all hold their own number."""
    total = sum(case_lengths)
    images = np.broadcast_to(np.arange(total, dtype=np.float16)[:, None, None, None], (total, 1, 8, 8))
    names = tuple(f"case{number}" for number in range(len(case_lengths)))
    return SliceSet(
        images, np.zeros((total, 8, 8), np.uint8), names, np.repeat(np.arange(len(names)), case_lengths), "none"
    )


def test_context_is_previous_this_next_and_stays_within_the_case():
    slices = numbered_slices([3, 2])
    images, _ = slices.batch(np.arange(5), context_slices=3)
    assert images[:, :, 0, 0].tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 2], [3, 3, 4], [3, 4, 4]]


def test_indices_of_named_cases():
    assert numbered_slices([3, 2, 1]).indices_of(["case0", "case2"]).tolist() == [0, 1, 2, 5]


def test_prepared_slices_are_what_the_device_will_see(synapse_folder, tmp_path):
    data_set = open_data_set(synapse_folder)
    names = [case.name for case in data_set.cases[:2]]
    slices = prepare_slices(data_set, names, CT, tmp_path / "cache")
    with_context = CT.model_copy(update={"context_slices": 3})
    for name in names:
        volume = data_set.read_volume(data_set.case(name)).reoriented()
        expected = np.stack(list(network_inputs(volume, with_context)))
        images, _ = slices.batch(slices.indices_of([name]), context_slices=3)
        np.testing.assert_allclose(images, expected, atol=6e-4)  # half precision on disk


def test_the_second_time_nothing_is_read_again(synapse_folder, tmp_path):
    data_set, prepared = open_data_set(synapse_folder), []
    for _ in range(2):
        slices = prepare_slices(data_set, ["case0001"], CT, tmp_path, on_case=prepared.append)
    assert prepared == ["case0001"]
    other = prepare_slices(
        data_set, ["case0001"], CT.model_copy(update={"image_size": 16}), tmp_path, on_case=prepared.append
    )
    assert prepared == ["case0001"] * 2
    assert slices.fingerprint != other.fingerprint


def test_damaged_prepared_slices_are_one_line_that_says_what_to_do(synapse_folder, tmp_path):
    data_set = open_data_set(synapse_folder)
    prepare_slices(data_set, ["case0001"], CT, tmp_path)
    index = json.loads((tmp_path / "index.json").read_text())
    without_counts = json.dumps({name: value for name, value in index.items() if name != "counts"})
    for name, content in (
        ("images.f16", b"short"),
        ("index.json", b"[]"),
        ("index.json", b'{"key": '),
        ("index.json", without_counts.encode()),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileFormatError, match="delete this") as refused:
            prepare_slices(data_set, ["case0001"], CT, tmp_path)
        assert str(tmp_path) in str(refused.value)
        assert "\n" not in str(refused.value)
    (tmp_path / "index.json").unlink()
    assert prepare_slices(data_set, ["case0001"], CT, tmp_path).fingerprint == index["fingerprint"]


def test_masks_without_any_label_are_refused(synapse_folder, tmp_path, monkeypatch):
    data_set = open_data_set(synapse_folder)
    read = type(data_set).read_labels

    def read_nothing(self, case):
        label_map = read(self, case)
        label_map.array[:] = 0
        return label_map

    monkeypatch.setattr(type(data_set), "read_labels", read_nothing)
    with pytest.raises(DataSetError, match="no labels at all"):
        prepare_slices(data_set, ["case0001"], CT, tmp_path)
    assert not list(tmp_path.iterdir())
