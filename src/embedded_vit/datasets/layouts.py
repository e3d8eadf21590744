"""Opens a labelled data set; the layout is recognised from the folder."""

from __future__ import annotations

from pathlib import Path

from embedded_vit.datasets.data_set import DataSet
from embedded_vit.datasets.decathlon import nifti_files, open_decathlon
from embedded_vit.datasets.description import DESCRIPTION_FILE, read_description
from embedded_vit.datasets.nnunet import open_nnunet
from embedded_vit.datasets.patients import with_patients
from embedded_vit.datasets.synapse import TEST_FOLDER, TRAIN_FOLDER, open_synapse
from embedded_vit.errors import DataSetError
from embedded_vit.io.scan_source import scan_stem

__all__ = ["open_data_set"]

LAYOUTS = (
    f"known layouts: TransUNet ({TRAIN_FOLDER}/, {TEST_FOLDER}/), Medical Segmentation Decathlon "
    f"({DESCRIPTION_FILE} with 'modality', imagesTr/, labelsTr/), nnU-Net raw ({DESCRIPTION_FILE} with "
    "'channel_names', imagesTr/CASE_0000.nii.gz, labelsTr/)"
)


def open_data_set(folder: str | Path, *, patient: str | None = None) -> DataSet:
    """Open a data set; its layout is recognised from the folder. No voxel is read.

    Args:
        folder: In the layout of TransUNet, of the Medical Segmentation Decathlon, or of nnU-Net (v1 or v2 raw).
        patient: How cases of one patient are told, as `with_patients` takes it.

    Raises:
        DataSetError: The folder has none of these layouts, or its description cannot be used; as `with_patients`.
        ConfigError: `patient` is not a regular expression.
    """
    return with_patients(_recognised(Path(folder)), patient)


def _recognised(folder: Path) -> DataSet:
    if not folder.is_dir():
        raise DataSetError(f"{folder}: {'a file' if folder.exists() else 'no such folder'}; {LAYOUTS}")
    if (folder / TRAIN_FOLDER).is_dir() or (folder / TEST_FOLDER).is_dir():
        return open_synapse(folder)
    if not (folder / DESCRIPTION_FILE).exists():
        names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
        found = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise DataSetError(f"{folder}: no data set is recognised in it ({found or 'it is empty'}); {LAYOUTS}")
    description = read_description(folder)
    if "channel_names" in description or ("modality" in description and _has_a_file_for_each_channel(folder)):
        return open_nnunet(folder, description)
    if "modality" in description:
        return open_decathlon(folder, description)
    raise DataSetError(f"{folder / DESCRIPTION_FILE}: neither 'modality' nor 'channel_names' is in it; {LAYOUTS}")


def _has_a_file_for_each_channel(folder: Path) -> bool:
    """Whether images are named as nnU-Net v1 names them, though `dataset.json` looks like the Decathlon's."""
    images, masks = ({scan_stem(path) for path in nifti_files(folder, name)} for name in ("imagesTr", "labelsTr"))
    return not images & masks and any(f"{mask}_0000" in images for mask in masks)
