"""A scan larger than the memory allowed is segmented from the disk, and its mask is that of the scan in memory."""

from __future__ import annotations

import gzip
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import nibabel
import nibabel.orientations as orientations
import numpy as np
import onnx
import pytest
from artifact_fixtures import RunVerb
from nibabel.nifti1 import Nifti1Header
from onnx import TensorProto, helper
from scipy import ndimage

from embedded_vit.datasets.phantom import PhantomSettings, make_phantom
from embedded_vit.errors import ContractError, FileFormatError
from embedded_vit.io.nifti import write_volume
from embedded_vit.io.spool.spooled_volume import SpooledLabelMap
from embedded_vit.postprocessing import Postprocessing
from embedded_vit.predict import memory
from embedded_vit.predict.memory import WORKING_BYTES
from embedded_vit.predict.predictor import Prediction, Predictor
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.volume import Volume

MakeArtifact = Callable[..., Path]
NO_ROOM = WORKING_BYTES + 1000  # for a scan, where the program itself takes nothing
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc are Linux's"),
    pytest.mark.filterwarnings("ignore:Cyclopts application invoked:UserWarning"),
]


@pytest.fixture(autouse=True)
def weightless_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore the size of the test process; memory budgets here are for scans alone."""
    monkeypatch.setattr(memory, "resident_bytes", lambda: 0)


def mean_graph(channels: int, size: int = 32) -> onnx.ModelProto:
    """logits = (-mean, mean) over all channels and context slices."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, channels, size, size])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, size, size])
    constants = [
        helper.make_tensor("channel_axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("minus_one", TensorProto.FLOAT, [1], [-1.0]),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["image", "channel_axis"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "minus_one"], ["negated"]),
        helper.make_node("Concat", ["negated", "mean"], ["logits"], axis=1),
    ]
    graph = helper.make_graph(nodes, "mean", [image], [logits], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def write_scan(path: Path, codes: str = "LPS", channels: int = 1, **fields: float) -> Path:
    """A noisy scan with a bright box, its axes running to `codes`; `fields` of its header are overwritten."""
    array = np.random.default_rng(0).normal(-200, 150, (*(44, 40, 13), channels)).astype(np.int16)
    array[12:30, 8:30, 3:9] += 500
    array[36:42, 32:38, 10:12] += 1000
    lps = np.diag([-1.25, -1.5, 4, 1])
    turn = orientations.ornt_transform(orientations.io_orientation(lps), orientations.axcodes2ornt(tuple(codes)))
    turned = orientations.apply_orientation(array, turn)
    affine = lps @ orientations.inv_ornt_aff(turn, array.shape[:3])
    image = nibabel.Nifti1Image(turned if channels > 1 else turned[..., 0], affine)
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def saved(prediction: Prediction, path: Path) -> bytes:
    prediction.save(path)
    return path.read_bytes()


@pytest.mark.parametrize("codes", ["LPS", "RAS", "LPI", "SLP", "IAR", "PSL"])
@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii"])
@pytest.mark.parametrize("context_slices", [1, 3])
def test_the_mask_from_the_disk_is_that_from_memory(
    make_artifact: MakeArtifact, tmp_path: Path, codes: str, name: str, context_slices: int
) -> None:
    preprocessing = Preprocessing.for_modality("CT", image_size=32, context_slices=context_slices)
    predictor = Predictor.load(make_artifact(mean_graph(context_slices), preprocessing=preprocessing), threads=1)
    scan = write_scan(tmp_path / name, codes)
    in_memory = predictor.predict(scan, memory_bytes=2**32)
    (tmp_path / "spool").mkdir()
    on_disk = predictor.predict(scan, memory_bytes=NO_ROOM, spool_folder=tmp_path / "spool")
    assert not isinstance(in_memory.mask, SpooledLabelMap)
    assert isinstance(on_disk.mask, SpooledLabelMap)
    assert saved(on_disk, tmp_path / "a.nii.gz") == saved(in_memory, tmp_path / "b.nii.gz")
    assert on_disk.summary() | {"seconds": 0} == in_memory.summary() | {"seconds": 0}
    assert 0.05 < in_memory.mask.array.mean() < 0.95
    assert not list((tmp_path / "spool").iterdir())


@pytest.mark.parametrize("dtype", ["<f8", "<f4", ">i2"])
@pytest.mark.parametrize("storage", [{}, {"compression": "gzip", "chunks": (3, 20, 22)}], ids=["plain", "chunked"])
def test_the_mask_of_a_transunet_volume_from_the_disk_is_that_from_memory(
    make_artifact: MakeArtifact, tmp_path: Path, dtype: str, storage: dict[str, Any]
) -> None:
    predictor = Predictor.load(make_artifact(), threads=1)
    image = np.random.default_rng(0).uniform(0, 1, (13, 40, 44))
    if dtype.endswith("i2"):
        image = image * 2000 - 1000  # HU; others are TransUNet's window
    scan = tmp_path / "case.npy.h5"
    with h5py.File(scan, "w") as file:
        file.create_dataset("image", data=image.astype(dtype), **storage)
    in_memory, on_disk = (predictor.predict(scan, memory_bytes=allowed) for allowed in (2**32, NO_ROOM))
    assert isinstance(on_disk.mask, SpooledLabelMap)
    assert saved(on_disk, tmp_path / "a.nii.gz") == saved(in_memory, tmp_path / "b.nii.gz")
    assert on_disk.summary() | {"seconds": 0} == in_memory.summary() | {"seconds": 0}
    assert 0.05 < in_memory.mask.array.mean() < 0.95


def test_a_transunet_volume_that_is_not_finite_is_refused_on_the_disk_too(
    make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    image = np.zeros((13, 40, 44), np.float32)
    image[11, 3, 5] = np.nan
    with h5py.File(tmp_path / "case.npy.h5", "w") as file:
        file.create_dataset("image", data=image)
    with pytest.raises(FileFormatError, match="NaN or infinite"):
        Predictor.load(make_artifact(), threads=1).predict(tmp_path / "case.npy.h5", memory_bytes=NO_ROOM)


@pytest.mark.parametrize("codes", ["LPS", "SAR"])
def test_small_components_are_removed_on_the_disk_as_in_memory(
    make_artifact: MakeArtifact, tmp_path: Path, codes: str
) -> None:
    only_the_largest = Postprocessing(smallest_component={"bright": 1.0})
    predictor = Predictor.load(make_artifact(postprocessing=only_the_largest), threads=1)
    scan = write_scan(tmp_path / "scan.nii.gz", codes)
    in_memory, on_disk = (predictor.predict(scan, memory_bytes=allowed) for allowed in (2**32, NO_ROOM))
    assert isinstance(on_disk.mask, SpooledLabelMap)
    assert saved(on_disk, tmp_path / "a.nii.gz") == saved(in_memory, tmp_path / "b.nii.gz")
    _, components = ndimage.label(in_memory.mask.array, np.ones((3, 3, 3)))
    assert components == 1
    _, components = ndimage.label(Predictor.load(make_artifact(), threads=1).predict(scan).mask.array)
    assert components > 1


@pytest.mark.parametrize("codes", ["LPS", "SAR"])
def test_percentiles_of_four_channels_are_the_same(make_artifact: MakeArtifact, tmp_path: Path, codes: str) -> None:
    sequences = ("T1", "T1c", "T2", "FLAIR")
    preprocessing = Preprocessing.for_modality("MR", image_size=32, channels=sequences)
    predictor = Predictor.load(make_artifact(mean_graph(4), preprocessing=preprocessing), threads=1)
    scan = write_scan(tmp_path / "scan.nii.gz", codes, channels=4)
    in_memory, on_disk = (predictor.predict(scan, memory_bytes=allowed) for allowed in (2**32, NO_ROOM))
    assert isinstance(on_disk.mask, SpooledLabelMap)
    assert saved(on_disk, tmp_path / "a.nii.gz") == saved(in_memory, tmp_path / "b.nii.gz")
    assert in_memory.mask.array.any()


def test_a_scan_that_fits_is_read_into_memory(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz")
    predictor = Predictor.load(make_artifact(), threads=1)
    just_enough = WORKING_BYTES + 44 * 40 * 13 * (2 + 1)
    assert isinstance(predictor.predict(scan, memory_bytes=just_enough - 1).mask, SpooledLabelMap)
    assert not isinstance(predictor.predict(scan, memory_bytes=just_enough).mask, SpooledLabelMap)


def test_half_of_the_free_memory_is_allowed_by_default(
    make_artifact: MakeArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz")
    predictor = Predictor.load(make_artifact(), threads=1)
    assert not isinstance(predictor.predict(scan).mask, SpooledLabelMap)
    monkeypatch.setattr("embedded_vit.predict.predictor.free_bytes", lambda: 2 * 44 * 40 * 13 * 3 - 1)
    assert isinstance(predictor.predict(scan).mask, SpooledLabelMap)


def test_refusals_are_those_of_a_scan_in_memory(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    predictor = Predictor.load(make_artifact(), threads=1)
    bright = write_volume_of(tmp_path / "bright.nii.gz", np.full((8, 8, 5), 400, np.int16))
    holed = write_volume_of(tmp_path / "holed.nii.gz", np.full((8, 8, 5), np.nan, np.float32))
    for allowed in (2**32, NO_ROOM - 999):
        with pytest.raises(ContractError, match="nothing here is below 400"):
            predictor.predict(bright, memory_bytes=allowed)
        with pytest.raises(FileFormatError, match="NaN or infinite"):
            predictor.predict(holed, memory_bytes=allowed)
        assert predictor.predict(bright, memory_bytes=allowed, force=True).forced


def write_volume_of(path: Path, array: np.ndarray) -> Path:
    write_volume(path, Volume(array[None], np.eye(4)))
    return path


def run_predict(*arguments: object, limit: int | None = None, kind: int = resource.RLIMIT_AS) -> tuple[int, str]:
    """Run `embedded-vit predict` on at most two cores, with a limit set from outside: (exit status, standard error)."""

    def limited() -> None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
        if limit is not None:
            resource.setrlimit(kind, (limit, limit))

    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-m", "embedded_vit", "predict", *map(str, arguments)]
    done = subprocess.run(command, preexec_fn=limited, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.strip()


@pytest.fixture
def large_scan(tmp_path: Path) -> Path:
    """100 MiB of voxels, more than the 200M that the tests below allow leave beside the program."""
    return write_volume_of(tmp_path / "large.nii.gz", np.full((512, 512, 200), -100, np.int16))


def test_a_disk_that_fails_is_one_line_and_leaves_nothing(
    make_artifact: MakeArtifact, large_scan: Path, tmp_path: Path
) -> None:
    arguments = (make_artifact(), large_scan, "-o", tmp_path / "out" / "mask.nii.gz", "--memory", "200M")
    status, error = run_predict(*arguments, limit=2**20, kind=resource.RLIMIT_FSIZE)
    assert status == 2
    assert "larger than the memory allowed: File too large; make room" in error
    assert "\n" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.nii.gz", "model.onnx"]
    assert run_predict(*arguments) == (0, "")


@pytest.mark.parametrize(("amount", "message"), [("much", "for example 400M"), ("20M", "20M of memory are too little")])
def test_an_amount_that_is_none_or_too_little_is_one_line(
    make_artifact: MakeArtifact, tmp_path: Path, amount: str, message: str
) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz")
    status, error = run_predict(make_artifact(), scan, "-o", tmp_path / "mask.nii.gz", "--memory", amount)
    assert status == 2
    assert message in error
    assert "\n" not in error


def test_too_little_memory_is_one_line(
    make_artifact: MakeArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predict: RunVerb
) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    scan = write_scan(tmp_path / "scan.nii.gz")
    monkeypatch.setattr("embedded_vit.io.nifti.source.NiftiSource.read", exhausted)
    status, _, told = predict(make_artifact(), scan, "-o", tmp_path / "mask.nii.gz", "--threads", 1)
    assert status == 2
    assert "out of memory" in told.strip().splitlines()[-1]


@pytest.fixture
def huge_scan(tmp_path: Path) -> Iterator[Path]:
    """512 x 512 x 1200 int16, a phantom's twelve slices a hundred times over; never whole in memory, nor kept."""
    stack = make_phantom(0, settings=PhantomSettings(size=512, slices=12))[0].reoriented("LPS")
    header = Nifti1Header()
    header.set_data_shape((512, 512, 1200))
    header.set_data_dtype(np.int16)
    header.set_sform(np.diag([-0.7, -0.7, 1.5, 1.0]), code=1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    # Members of a gzip file may follow each other; their contents are one.
    repeated = gzip.compress(stack.array[0].tobytes(order="F"), 1)
    path = tmp_path / "huge.nii.gz"
    with open(path, "wb") as file:
        file.write(gzip.compress(header.binaryblock + bytes(4)))
        for _ in range(100):
            file.write(repeated)
    yield path
    path.unlink()


@pytest.mark.slow
def test_1200_slices_are_segmented_in_an_address_space_of_400_megabytes(huge_scan: Path, tmp_path: Path) -> None:
    from network_fixtures import made_run

    if memory.free_bytes() < 2 * 2**30:
        pytest.skip("less than 2 GiB of memory are free: the unlimited run does not fit")
    from embedded_vit.export.exporting import export
    from embedded_vit.models.registry import network_config

    model = export(made_run(tmp_path / "run", network_config("embedded-vit-64", classes=9)), tmp_path / "m.onnx").path
    masks = tmp_path / "whole.nii.gz", tmp_path / "streamed.nii.gz"
    status, told = run_predict(model, huge_scan, "-o", masks[0], "--memory", "4G", "--threads", 2)
    assert (status, told.count("\n")) == (0, 0)
    assert "warning: at the border of the scan" in told
    limited = run_predict(model, huge_scan, "-o", masks[1], "--memory", "400M", "--threads", 2, limit=400 * 10**6)
    assert limited == (0, told)
    assert masks[0].read_bytes() == masks[1].read_bytes()
    assert len(np.unique(nibabel.load(masks[0]).dataobj[:, :, 5])) > 1
    assert len(list(tmp_path.iterdir())) == 9  # scan, run, model, two masks, their summaries and previews
