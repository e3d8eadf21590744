"""Test vectors: one scan at every stage from stored numbers to a mask, for those who implement the contract themselves.

`docs/contract.md` is the specification; the files hold what it must give.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from embedded_vit.contract import Contract
from embedded_vit.engines import load
from embedded_vit.errors import OutputError
from embedded_vit.io.array_file import write_array
from embedded_vit.io.atomic import check_folder, write_text
from embedded_vit.postprocessing import Components, remove_small_components
from embedded_vit.predict.labelling import label_slice
from embedded_vit.predict.measuring import region_sizes, size_unit, structure_volumes
from embedded_vit.preprocessing import Grid, network_inputs
from embedded_vit.volume import LabelMap, Volume

__all__ = ["CONTRACT_FILE", "check_vectors_folder", "write_test_vectors"]

CONTRACT_FILE = "contract.json"
MOST_SLICES = 24  # of the scan's middle; context, quantiles and components are those of these slices alone


def check_vectors_folder(folder: Path) -> None:
    """Refuse a folder that test vectors cannot be written to, before any work is done.

    Raises:
        OutputError: It holds files, is a file, or cannot be made or written.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise OutputError(f"{folder}: is not an empty folder; choose another for the test vectors")
    check_folder(folder)


def write_test_vectors(model: str | Path, volume: Volume, folder: str | Path) -> None:
    """Write the stages of a scan, as NumPy arrays in training orientation, and the contract as JSON.

    Args:
        model: A model file; ONNX Runtime computes it.
        volume: A scan that fits its contract, in any orientation; at most 24 slices of its middle are taken.
        folder: A new or empty folder, which gets contract.json, scan.npy, inputs.npy, logits.npy, labels.npy and
            postprocessed.npy; contract.json holds the sizes of structures and regions in the last too.

    Raises:
        FileFormatError: The model file cannot be loaded.
        ContractError: The scan has another number of channels.
        OutputError: The folder holds files, or cannot be written.
    """
    folder = Path(folder)
    check_vectors_folder(folder)
    engine = load(model)
    contract = engine.manifest.contract
    contract.check_channels(volume)
    upright = _middle(volume.reoriented(contract.preprocessing.orientation))
    grid = Grid.of(upright, contract.preprocessing)
    inputs = np.stack(list(network_inputs(upright, contract.preprocessing, grid=grid)))
    logits = np.stack([engine.run(image[None])[0] for image in inputs])
    labels = np.stack([label_slice(each, grid) for each in logits])
    processed, components = labels.copy(), Components()
    for plane in labels:
        components.add(plane)
    mask = LabelMap(processed, upright.affine, spacing_known=upright.spacing_known)
    remove_small_components(mask, components, contract.smallest_shares)
    facts = {
        "contract": contract.model_dump(mode="json"),
        "slope": upright.slope,
        "intercept": upright.intercept,
        "spacing_mm": upright.spacing_mm if upright.spacing_known else None,
        **_sizes(mask, contract),
    }
    stages = {"scan": upright.array, "inputs": inputs, "logits": logits, "labels": labels, "postprocessed": processed}
    for name, array in stages.items():
        write_array(folder, name, array)
    write_text(folder / CONTRACT_FILE, json.dumps(facts, indent=1) + "\n")


def _sizes(mask: LabelMap, contract: Contract) -> dict[str, object]:
    flat = contract.preprocessing.modality == "picture"
    unit = size_unit(mask, flat=flat)
    sizes = structure_volumes(mask, mask.counts(), contract.labels, flat=flat)
    return {"unit": unit, "sizes": sizes, "regions": region_sizes(sizes, contract.labels, unit)}


def _middle(upright: Volume) -> Volume:
    slices = upright.shape[0]
    first = max(0, (slices - MOST_SLICES) // 2)
    return replace(upright, array=upright.array[:, first : first + MOST_SLICES])
