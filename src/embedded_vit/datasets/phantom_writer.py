"""Phantom data sets on disk, in each of the three layouts."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from embedded_vit.datasets.description import DESCRIPTION_FILE
from embedded_vit.datasets.phantom import ANATOMIES, Anatomy, PhantomSettings, make_phantom
from embedded_vit.datasets.synapse import TEST_FOLDER, TRAIN_FOLDER
from embedded_vit.errors import ConfigError, OutputError
from embedded_vit.io.atomic import temporary_beside
from embedded_vit.io.nifti import SUFFIX, write_labels, write_volume
from embedded_vit.io.transunet import SLICE_SUFFIX, VOLUME_SUFFIX, stored_numbers
from embedded_vit.labels import SYNAPSE_LABELS
from embedded_vit.preprocessing import CT_WINDOW_HU
from embedded_vit.volume import LabelMap, Volume

__all__ = ["Layout", "write_phantoms"]

Layout = Literal["transunet", "decathlon", "nnunet"]
DESCRIPTION = "Generated phantom patients: no person's data. Research use only."


def write_phantoms(
    folder: str | Path,
    cases: int,
    *,
    layout: Layout = "transunet",
    settings: PhantomSettings | None = None,
    seed: int = 0,
    on_case: Callable[[], None] = lambda: None,
) -> None:
    """Generate phantom patients and write them as a data set; it is there whole or not at all.

    Args:
        folder: Where to; must be empty or not exist.
        cases: The number of patients. The last quarter of them, at least one, is for testing, except in the
            Decathlon's layout, which has no labelled test cases.
        layout: "transunet", "decathlon" or "nnunet" (v2 raw).
        settings: Size of the volumes, and the body part.
        seed: The same seed writes the same data set.
        on_case: Called after each patient.

    Raises:
        ConfigError: Fewer than two cases.
        OutputError: The folder is not empty or cannot be written.
    """
    folder, settings = Path(folder), settings or PhantomSettings()
    anatomy = ANATOMIES[settings.anatomy]
    if cases < 2:
        raise ConfigError(f"--cases {cases}: expected at least 2, one to train and one to test")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: is not empty; choose another folder or empty it first")
    temporary = temporary_beside(folder)
    try:
        temporary.mkdir(parents=True)
        write = {"transunet": _write_transunet, "decathlon": _write_decathlon, "nnunet": _write_nnunet}[layout]
        training = cases if layout == "decathlon" else cases - max(1, round(cases / 4))
        for number in range(1, cases + 1):
            volume, labels = make_phantom(number, seed=seed, settings=settings)
            if layout != "transunet":
                volume, labels = volume.reoriented(anatomy.file_axes), labels.reoriented(anatomy.file_axes)
            elif anatomy.modality == "MR":
                volume = _in_window(volume)
            write(temporary, number, volume, labels, number > training)
            on_case()
        if layout != "transunet" or anatomy.labels != SYNAPSE_LABELS:
            _write_description(temporary, layout, training, anatomy)
        if folder.exists():
            folder.rmdir()
        os.replace(temporary, folder)
    except OSError as error:
        reason = error.strerror or str(error).split("\n")[0]
        raise OutputError(f"{folder}: cannot be written: {reason}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_transunet(folder: Path, number: int, volume: Volume, labels: LabelMap, test: bool) -> None:
    """Write slices (`.npz`) or a volume (`.npy.h5`) in TransUNet's numbers from 0 to 1, and add them to the lists."""
    import h5py  # no other layout needs it

    case = f"case{number:04d}"
    for name in (TRAIN_FOLDER, TEST_FOLDER, "lists"):
        (folder / name).mkdir(exist_ok=True)
    image = stored_numbers(volume)
    if test:
        names = [case]
        with h5py.File(folder / TEST_FOLDER / f"{case}{VOLUME_SUFFIX}", "w") as file:
            for key, array in (("image", image), ("label", labels.array)):
                file.create_dataset(key, data=array, compression="gzip", compression_opts=1)
    else:
        names = [f"{case}_slice{index:03d}" for index in range(len(image))]
        for name, plane, mask in zip(names, image, labels.array, strict=True):
            np.savez_compressed(folder / TRAIN_FOLDER / f"{name}{SLICE_SUFFIX}", image=plane, label=mask)
    with open(folder / "lists" / ("test_vol.txt" if test else "train.txt"), "a", encoding="utf-8") as file:
        file.writelines(f"{name}\n" for name in names)


def _write_decathlon(folder: Path, number: int, volume: Volume, labels: LabelMap, test: bool) -> None:
    _write_nifti(folder, f"phantom_{number:04d}", "", volume, labels, test)


def _write_nnunet(folder: Path, number: int, volume: Volume, labels: LabelMap, test: bool) -> None:
    _write_nifti(folder, f"phantom_{number:04d}", "_0000", volume, labels, test)


def _write_nifti(folder: Path, case: str, channel: str, volume: Volume, labels: LabelMap, test: bool) -> None:
    """Write a case in the axis order of the volume."""
    subset = "Ts" if test else "Tr"
    write_volume(folder / f"images{subset}" / f"{case}{channel}{SUFFIX}", volume)
    write_labels(folder / f"labels{subset}" / f"{case}{SUFFIX}", labels)


def _in_window(volume: Volume) -> Volume:
    """Return an MR volume whose range is the CT window: 0 to 1 in TransUNet's layout, which knows no modality."""
    low, high = CT_WINDOW_HU
    return replace(volume, slope=(high - low) / max(float(volume.array.max()), 1.0), intercept=low)


def _write_description(folder: Path, layout: Layout, training: int, anatomy: Anatomy) -> None:
    names = ["background", *anatomy.labels.names]
    description: dict[str, object] = {"name": "Phantom", "description": DESCRIPTION, "numTraining": training}
    if layout == "decathlon":
        description |= {
            "tensorImageSize": "3D",
            "modality": {"0": anatomy.modality},
            "labels": {str(number): name for number, name in enumerate(names)},
            "training": [
                {"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"}
                for name in (f"phantom_{number:04d}{SUFFIX}" for number in range(1, training + 1))
            ],
            "test": [],
        }
    else:
        nnunet = layout == "nnunet"
        description |= {"channel_names": {"0": anatomy.modality}} if nnunet else {}
        description["labels"] = {name: number for number, name in enumerate(names)}
        description |= {"file_ending": SUFFIX} if nnunet else {}
    if anatomy.labels.mirror:
        description["mirror"] = True
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
