"""The files of this program and of data sets, damaged: their bytes, or the values of JSON that is valid as such."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import nibabel
import numpy as np
import torch
from artifact_fixtures import threshold_graph, threshold_manifest
from example_result import result
from example_rows import example_measurements
from network_fixtures import made_network, made_run
from safetensors.torch import load as load_bytes
from safetensors.torch import save

from embedded_vit.artifact.manifest import MANIFEST_DIGEST_KEY, MANIFEST_KEY
from embedded_vit.artifact.onnx_file import with_metadata
from embedded_vit.benchmark.result_file import read_result
from embedded_vit.compression.plan import built_in_plans, read_plan
from embedded_vit.compression.record import CompressionRecord, StageRecord, read_compression_record
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.phantom import PhantomSettings
from embedded_vit.datasets.phantom_writer import write_phantoms
from embedded_vit.engines import load
from embedded_vit.io import open_scan
from embedded_vit.io.digest import sha256_of
from embedded_vit.io.mask_file import read_summary
from embedded_vit.io.nifti import read_labels
from embedded_vit.io.transunet import read_h5_labels, read_slice
from embedded_vit.models.reference_checkpoint import load_reference, read_reference_file
from embedded_vit.models.registry import network_config
from embedded_vit.report.compared_points import read_compared_points
from embedded_vit.search.inheritance import inherit, tensor_shapes
from embedded_vit.training.checkpoint import load_checkpoint, save_state
from embedded_vit.training.learner import Learner
from embedded_vit.training.loop import Trainer
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.training import plan

Damage = Callable[[bytes, np.random.Generator], bytes]
ODD: list[Any] = [None, True, -1, 0, 1, 3, 2**31, 10**30, 10**400, 1e308, -0.5, float("nan"), float("inf"), "",
                  "x" * 5000,
                  "\ud800",
                  "a\x1b[31m\nb", "../../etc/passwd", [], {}, [[]], {"a": {"b": 1}}, [1, "a", None]]  # fmt: skip
CONFIG = network_config(image_size=32, widths=(8, 16), classes=9)


def places_of(value: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a JSON value."""
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [place for key, inner in items for place in [(value, key), *places_of(inner)]]


def mutated_json(content: bytes, random: np.random.Generator) -> bytes:
    """Change, remove, rename or repeat a few values; what comes out is JSON again."""
    value = json.loads(content)
    for _ in range(int(random.integers(1, 4))):
        places = places_of(value)
        if not places:
            break
        container, key = places[int(random.integers(len(places)))]
        match random.integers(5):
            case 0:
                del container[key]
            case 1 if isinstance(container, dict):
                container[str(ODD[int(random.integers(len(ODD)))])[:50]] = container.pop(key)
            case 2 if isinstance(container, list):
                container.append(deepcopy(container[key]))
            case 3:
                container[key] = json.loads("[" * 900 + "]" * 900)
                break
            case _:
                container[key] = deepcopy(ODD[int(random.integers(len(ODD)))])
    return json.dumps(value).encode()


class OurFiles:
    """One folder with a good file of every kind; `damage` spoils one, and `read` reads it as the program does.

    Args:
        folder: An empty folder.
        mutated: Damages bytes.
    """

    def __init__(self, folder: Path, mutated: Damage) -> None:
        self.folder = folder
        self._good: dict[Path, bytes] = {}
        self.kinds: dict[str, tuple[Path, Damage, Callable[[], object]]] = {}
        self._add_run(mutated)
        self._add_data(mutated)
        self._add_artifact()
        self._add_others(mutated)

    def damage(self, number: int, random: np.random.Generator) -> tuple[str, Callable[[], object]]:
        """Spoil one file and mend all others; return its kind and what reads it."""
        kind = list(self.kinds)[number % len(self.kinds)]
        path, damage, read = self.kinds[kind]
        for other, content in self._good.items():
            if other.read_bytes() != content:
                other.write_bytes(content)
        path.write_bytes(damage(self._good[path], random))
        return kind, read

    def _add(self, kind: str, path: Path, damage: Damage, read: Callable[[], object]) -> None:
        self._good[path] = path.read_bytes()
        self.kinds[kind] = (path, damage, read)

    def _add_run(self, mutated: Damage) -> None:
        run = made_run(self.folder / "run", CONFIG)
        learner = Learner(made_network(CONFIG), load_checkpoint(run).config)
        learner.change_weights(0.01, 0.9)
        row = {"epoch": 1, "loss": 1.0, "validation_dice": None, "learning_rate": 0.1, "images_per_second": 1.0,
               "loading_fraction": 0.0, "seconds": 1.0}  # fmt: skip
        save_state(
            run, learner.tensors(), {"history": [row], "selected_epoch": 1, "scaler": learner.scaler.state_dict()}
        )

        def resume() -> None:
            trainer = object.__new__(Trainer)  # resuming needs no slices
            trainer.learner, trainer.folder, trainer.processes = learner, run, SimpleNamespace(leads=False)
            trainer.resume()
            learner.change_weights(0.01, 0.9)

        def inherited() -> None:
            tensor_shapes(run)
            inherit(made_network(CONFIG).state_dict(), run)

        state, model = run / "state.safetensors", run / "model.safetensors"
        self._add("config.json", run / "config.json", mutated_json, lambda: load_checkpoint(run))
        self._add("config.json, bytes", run / "config.json", mutated, lambda: load_checkpoint(run))
        self._add("training.json", run / "training.json", mutated_json, lambda: load_checkpoint(run))
        self._add("model.safetensors", model, mutated, lambda: load_checkpoint(run))
        self._add("weights to inherit", model, mutated, inherited)
        self._add("state.safetensors", state, mutated, resume)
        self._add("metadata of a state", state, mutated_metadata, resume)
        self._add("tensors of a state", state, mutated_tensors, resume)
        stage = StageRecord(
            name="original", artifact="a.onnx", measured=example_measurements(), gate_subset="train", seconds=1
        )
        record = CompressionRecord(original="run", data_folder="data", recipe={"steps": ["quantize"]}, stages=(stage,),
                                   machine="", versions={})  # fmt: skip
        (run / "compression.json").write_text(record.model_dump_json())
        self._add("compression.json", run / "compression.json", mutated_json, lambda: read_compression_record(run))

    def _add_data(self, mutated: Damage) -> None:
        settings = PhantomSettings(size=32, slices=8)
        recipe = TrainingConfig.for_recipe("modern")

        def use(folder: Path) -> None:
            data_set = open_data_set(folder)
            plan(data_set, network=None, architecture={"image_size": 32, "widths": (8, 16)}, training=recipe)
            for case in data_set.cases[:1]:
                data_set.read_case(case)

        for layout in ("decathlon", "nnunet"):
            folder = self.folder / layout
            write_phantoms(folder, 3, layout=layout, settings=settings)  # type: ignore[arg-type]
            description = folder / "dataset.json"
            self._add(f"dataset.json of {layout}", description, mutated_json, lambda folder=folder: use(folder))
            self._add(f"bytes of {layout}", description, mutated, lambda folder=folder: use(folder))
        folder = self.folder / "stated"
        shutil.copytree(self.folder / "nnunet", folder)
        description = json.loads((folder / "dataset.json").read_text())
        name = min(path.name for path in (folder / "labelsTr").iterdir()).removesuffix(".nii.gz")
        files = {"images": [f"imagesTr/{name}_0000.nii.gz"], "label": f"labelsTr/{name}.nii.gz"}
        (folder / "dataset.json").write_text(json.dumps(description | {"dataset": {name: files}}))
        self._add("dataset.json with files", folder / "dataset.json", mutated_json, lambda: use(folder))
        mask = next((folder / "labelsTr").iterdir())
        nibabel.save(nibabel.load(mask), self.folder / "mask.nii")
        self._add("mask", self.folder / "mask.nii", mutated_head, lambda: read_labels(self.folder / "mask.nii"))
        transunet = self.folder / "transunet"
        write_phantoms(transunet, 4, layout="transunet", settings=settings)
        for name in ("train", "test_vol"):
            self._add(f"list {name}", transunet / "lists" / f"{name}.txt", mutated, lambda: use(transunet))
        volume, slice_ = next((transunet / "test_vol_h5").iterdir()), next((transunet / "train_npz").iterdir())
        with h5py.File(volume, "r+") as file:  # an attribute and a group, which h5py reads with code of its own
            file.attrs["note"] = "x"
            file.create_group("more")
        self._add("h5", volume, mutated, lambda: (read_h5_labels(volume), open_scan(volume).read()))
        self._add("npz", slice_, mutated, lambda: read_slice(slice_))

    def _add_artifact(self) -> None:
        graph = threshold_graph().SerializeToString()
        manifest = threshold_manifest(graph).model_dump_json().encode()
        path = self.folder / "model.onnx"
        path.write_bytes(manifest)

        def sealed_anyway(content: bytes, random: np.random.Generator) -> bytes:
            text = mutated_json(content, random).decode()
            (self.folder / "text").write_text(text)
            return with_metadata(graph, {MANIFEST_KEY: text, MANIFEST_DIGEST_KEY: sha256_of(self.folder / "text")})

        self._add("manifest", path, sealed_anyway, lambda: load(path, threads=1))

    def _add_others(self, mutated: Damage) -> None:
        folder = self.folder
        shutil.copy(built_in_plans()["embedded-cpu"], folder / "plan.yaml")
        (folder / "result.json").write_text(result().model_dump_json())
        (folder / "points.csv").write_text("name,dice,macs,latency_ms\na,0.5,1e9,3\nb,0.25,2e6,\n")
        summary = {"model_sha256": "0", "volumes": {"liver": 1.5}, "labels": {"liver": 1}, "embedded_vit": "0.1.0"}
        (folder / "mask.json").write_text(json.dumps(summary))
        torch.save({"state_dict": {"module.backbone.weight": torch.zeros(3, 4), "b": torch.ones(2)}}, folder / "a.pth")
        self._add("plan", folder / "plan.yaml", mutated, lambda: read_plan(folder / "plan.yaml"))
        self._add("result", folder / "result.json", mutated_json, lambda: read_result(folder / "result.json"))
        self._add("points", folder / "points.csv", mutated, lambda: read_compared_points(folder / "points.csv"))
        self._add("summary", folder / "mask.json", mutated_json, lambda: read_summary(folder / "mask.json"))
        self._add(
            "checkpoint of the authors",
            folder / "a.pth",
            mutated,
            lambda: load_reference("embedded-vit-64", read_reference_file(folder / "a.pth")),
        )


def mutated_head(content: bytes, random: np.random.Generator) -> bytes:
    """Damage the header of a NIfTI file."""
    head = bytearray(content[:352])
    for _ in range(int(random.integers(1, 4))):
        start = int(random.integers(len(head) - 8))
        head[start : start + 4] = [random.bytes(4), b"\xff" * 4, b"\0" * 4][int(random.integers(3))]
    return bytes(head) + content[352:]


def mutated_metadata(content: bytes, random: np.random.Generator) -> bytes:
    """Change the metadata of a state and leave its container right."""
    tensors, header = _parts_of(content)
    return save(tensors, {"state": mutated_json(header["__metadata__"]["state"].encode(), random).decode()})


def mutated_tensors(content: bytes, random: np.random.Generator) -> bytes:
    """Remove tensors of a state, or give them another shape or type."""
    tensors, header = _parts_of(content)
    tensors = dict(tensors)
    for _ in range(int(random.integers(1, 4))):
        name = list(tensors)[int(random.integers(len(tensors)))]
        match random.integers(4):
            case 0:
                del tensors[name]
            case 1:
                tensors[name] = tensors[name].flatten()[:1].clone()
            case 2:
                tensors[f"{name}.more"] = tensors[name].clone()
            case _:
                tensors[name] = torch.zeros((3, 2), dtype=torch.int64)
    return save(tensors, header["__metadata__"])


@lru_cache(maxsize=1)
def _parts_of(content: bytes) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors of a safetensors file, and its header."""
    length = int.from_bytes(content[:8], "little")
    return load_bytes(content), json.loads(content[8 : 8 + length])
