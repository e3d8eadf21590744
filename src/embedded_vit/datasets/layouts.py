"""Opens a labelled data set; the layout is recognised from the folder, and `docs/data.md` draws each as a tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedded_vit.datasets.brats import is_brats, open_brats
from embedded_vit.datasets.data_set import DataSet
from embedded_vit.datasets.decathlon import open_decathlon
from embedded_vit.datasets.description import DESCRIPTION_FILE, read_description
from embedded_vit.datasets.dicom_folders import is_dicom_folders, open_dicom_folders
from embedded_vit.datasets.nnunet import open_nnunet
from embedded_vit.datasets.paired_files import has_pairs, open_pairs
from embedded_vit.datasets.patients import with_patients
from embedded_vit.datasets.plain_folders import IMAGES, mask_folder, open_plain, plain_pairs
from embedded_vit.datasets.synapse import TEST_FOLDER, TRAIN_FOLDER, open_synapse
from embedded_vit.datasets.totalsegmentator import SEGMENTATIONS, is_totalsegmentator, open_totalsegmentator
from embedded_vit.errors import DataSetError
from embedded_vit.io.scan_source import data_files, scan_stem

__all__ = ["open_data_set", "open_data_set_like"]

Description = Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """A way in which people lay out a data set.

    Attributes:
        described: What it is, for messages.
        recognises: Whether a folder with that `dataset.json`, empty where there is none, is laid out so.
        open: Opens it.
    """

    described: str
    recognises: Callable[[Path, Description], bool]
    open: Callable[[Path, Description], DataSet]


def _is_transunet(folder: Path, description: Description) -> bool:
    return (folder / TRAIN_FOLDER).is_dir() or (folder / TEST_FOLDER).is_dir()


def _is_nnunet(folder: Path, description: Description) -> bool:
    if mask_folder(folder) is not None and not (folder / "imagesTr").is_dir() and "dataset" not in description:
        return False
    return "channel_names" in description or ("modality" in description and _has_a_file_for_each_channel(folder))


LAYOUTS = (
    Layout(
        f"TransUNet ({TRAIN_FOLDER}/, {TEST_FOLDER}/)", _is_transunet, lambda folder, description: open_synapse(folder)
    ),
    Layout(
        f"nnU-Net raw ({DESCRIPTION_FILE} with 'channel_names', imagesTr/CASE_0000 and so on, labelsTr/)",
        _is_nnunet,
        open_nnunet,
    ),
    Layout(
        f"Medical Segmentation Decathlon ({DESCRIPTION_FILE} with 'modality', imagesTr/, labelsTr/)",
        lambda folder, description: "modality" in description and "training" in description,
        open_decathlon,
    ),
    Layout(
        f"plain folders ({IMAGES}/ and masks/ or labels/)",
        lambda folder, description: mask_folder(folder) is not None and (plain_pairs(folder) or not has_pairs(folder)),
        open_plain,
    ),
    Layout(
        f"TotalSegmentator (a file ct and a folder {SEGMENTATIONS}/ in the folder of a case)",
        lambda folder, description: is_totalsegmentator(folder),
        open_totalsegmentator,
    ),
    Layout(
        "BraTS (in the folder of a case CASE_t1, CASE_t1ce, CASE_t2, CASE_flair, CASE_seg)",
        lambda folder, description: is_brats(folder),
        open_brats,
    ),
    Layout(
        "pairs of files (CASE and CASE_mask, volume-0 and segmentation-0, imaging and segmentation in CASE/)",
        lambda folder, description: has_pairs(folder),
        open_pairs,
    ),
    Layout(
        "DICOM with SEG or RTSTRUCT (CASE/ with a series and its label files)",
        lambda folder, description: is_dicom_folders(folder),
        open_dicom_folders,
    ),
)
KNOWN = f"known layouts: {', '.join(layout.described for layout in LAYOUTS)}"
ARRANGE = "put the images into images/ and their masks into masks/, called alike"


def open_data_set(
    folder: str | Path, *, patient: str | None = None, structures: Sequence[str] | None = None
) -> DataSet:
    """Open a data set; its layout is recognised from the folder. No voxel is read where the layout says all.

    Args:
        folder: In one of the layouts of `docs/data.md`.
        patient: How the patient of a case is recognised, as `with_patients` takes it.
        structures: The structures to keep, in this order; the others become background. None keeps all.

    Raises:
        DataSetError: The folder has none of these layouts, or its description cannot be used; as `with_patients`; or
            there is no structure of that name.
        ConfigError: `patient` is not a regular expression.
    """
    data_set = with_patients(_recognised(Path(folder)), patient)
    return data_set if structures is None else data_set.with_structures(structures)


def open_data_set_like(folder: str | Path, structures: Sequence[str], *, patient: str | None = None) -> DataSet:
    """Open a data set for a network that knows some of its structures.

    Args:
        folder: As `open_data_set`.
        structures: Those of the network. Where the data set lacks one of them, it is returned with its own.
        patient: As `open_data_set`.
    """
    data_set = open_data_set(folder, patient=patient)
    if structures and tuple(structures) != data_set.labels.names and set(structures) <= set(data_set.labels.names):
        return data_set.with_structures(structures)
    return data_set


def _recognised(folder: Path) -> DataSet:
    if not folder.is_dir():
        raise DataSetError(f"{folder}: {'a file' if folder.exists() else 'no such folder'}; {KNOWN}")
    described = (folder / DESCRIPTION_FILE).exists()
    description = read_description(folder) if described else {}
    for layout in LAYOUTS:
        if layout.recognises(folder, description):
            try:
                return layout.open(folder, description)
            except DataSetError as error:
                raise DataSetError(f"{error} (the folder was taken for {layout.described})") from error
    if described and "modality" in description:
        return open_decathlon(folder, description)  # which says what it lacks
    if described:
        raise DataSetError(f"{folder / DESCRIPTION_FILE}: neither 'modality' nor 'channel_names' is in it; {KNOWN}")
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    found = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    raise DataSetError(f"{folder}: no data set is recognised in it ({found or 'it is empty'}); {ARRANGE}; {KNOWN}")


def _has_a_file_for_each_channel(folder: Path) -> bool:
    """Whether images are named as nnU-Net v1 names them, though `dataset.json` looks like the Decathlon's."""
    images, masks = ({scan_stem(path) for path in data_files(folder / name)} for name in ("imagesTr", "labelsTr"))
    return not images & masks and any(f"{mask}_0000" in images for mask in masks)
