"""Training slices: prepared once, put together by the batch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from embedded_vit.datasets import open_data_set
from embedded_vit.errors import DataSetError
from embedded_vit.preprocessing import Preprocessing, network_inputs
from embedded_vit.training.slices import SliceSet, prepare_slices, remove_slices

CT = Preprocessing.for_modality("CT", image_size=32)


def numbered_slices(case_lengths: list[int]) -> SliceSet:
    """Make slices whose pixels all hold the slice's number."""
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


def shift_masks(folder: Path) -> None:
    for path in sorted((folder / "labelsTr").iterdir()):
        mask = nibabel.load(path)
        moved = np.roll(np.asarray(mask.dataobj), 20, axis=0)
        nibabel.Nifti1Image(moved, mask.affine, mask.header).to_filename(path)


def take_a_label_away(folder: Path) -> None:
    description = json.loads((folder / "dataset.json").read_text())
    last = max(description["labels"].values())
    description["labels"] = {name: number for name, number in description["labels"].items() if number < last}
    (folder / "dataset.json").write_text(json.dumps(description))
    for path in (folder / "labelsTr").iterdir():
        mask = nibabel.load(path)
        array = np.asarray(mask.dataobj)
        nibabel.Nifti1Image(np.where(array == last, 0, array), mask.affine, mask.header).to_filename(path)


def brighten_an_image(folder: Path) -> None:
    path = min((folder / "imagesTr").iterdir())
    scan = nibabel.load(path)
    nibabel.Nifti1Image(np.asarray(scan.dataobj) + 30, scan.affine, scan.header).to_filename(path)


@pytest.mark.parametrize("change", [shift_masks, take_a_label_away, brighten_an_image])
def test_slices_of_changed_data_are_prepared_anew(
    change: Callable[[Path], None], nnunet_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(nnunet_folder, tmp_path / "data"))
    names = [case.name for case in open_data_set(folder).cases if not case.reserved_for_test]
    before = prepare_slices(open_data_set(folder), names, CT, tmp_path / "cache")
    change(folder)
    after = prepare_slices(open_data_set(folder), names, CT, tmp_path / "cache")
    fresh = prepare_slices(open_data_set(folder), names, CT, tmp_path / "fresh")
    assert after.fingerprint == fresh.fingerprint != before.fingerprint
    np.testing.assert_array_equal(after.labels, fresh.labels)
    np.testing.assert_array_equal(after.images, fresh.images)


def test_the_same_data_elsewhere_are_the_same_slices(nnunet_folder: Path, tmp_path: Path) -> None:
    prepared: list[str] = []
    for folder in (nnunet_folder, Path(shutil.copytree(nnunet_folder, tmp_path / "data"))):
        prepare_slices(open_data_set(folder), ["phantom_0001"], CT, tmp_path / "cache", on_case=prepared.append)
    assert prepared == ["phantom_0001"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def damage_the_index(cache: Path) -> None:
    (cache / "index.json").write_text('{"key": [')


def say_nonsense(cache: Path) -> None:
    index = json.loads((cache / "index.json").read_text())
    (cache / "index.json").write_text(json.dumps(index | {"counts": "many", "files": {"a": 1}}))


def forget_the_counts(cache: Path) -> None:
    index = json.loads((cache / "index.json").read_text())
    (cache / "index.json").write_text(json.dumps({name: value for name, value in index.items() if name != "counts"}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda cache: (cache / "images.f16").unlink(),
        lambda cache: (cache / "labels.u8").unlink(),
        lambda cache: cut(cache / "images.f16"),
        damage_the_index,
        say_nonsense,
        forget_the_counts,
        lambda cache: (cache / "index.json").write_text("[]"),
    ],
    ids=["no images", "no labels", "images cut", "index cut", "index of nonsense", "index without counts", "a list"],
)
def test_what_a_kill_left_of_slices_is_prepared_anew(
    damage: Callable[[Path], None], nnunet_folder: Path, tmp_path: Path
) -> None:
    data_set = open_data_set(nnunet_folder)
    before = prepare_slices(data_set, ["phantom_0001"], CT, tmp_path)
    damage(tmp_path)
    assert prepare_slices(data_set, ["phantom_0001"], CT, tmp_path).fingerprint == before.fingerprint


def test_slices_are_removed_index_first(nnunet_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    prepare_slices(open_data_set(nnunet_folder), ["phantom_0001"], CT, cache)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda folder, ignore_errors: None)  # as if it were killed here
        remove_slices(cache)
    assert sorted(path.name for path in cache.iterdir()) == ["images.f16", "labels.u8"]
    remove_slices(cache)
    assert not cache.exists()
    remove_slices(cache)
