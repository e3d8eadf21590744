"""A model under evaluation: a run folder or an artifact, and the cases that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embedded_vit.artifact.manifest import hashed_names
from embedded_vit.contract import Contract
from embedded_vit.counted import counted
from embedded_vit.datasets.data_set import Case, DataSet
from embedded_vit.engines import Engine, EngineChoice, load, open_network
from embedded_vit.errors import CheckpointError, ConfigError, DataSetError
from embedded_vit.io.digest import sha256_of

__all__ = ["ChosenCases", "EvaluatedModel", "Precision", "Subset", "open_model"]

Subset = Literal["train", "validation", "test", "all"]
Precision = Literal["fp32", "fp16"]
UNKNOWN = "unknown"  # a case that the model's split does not name


@dataclass(frozen=True)
class ChosenCases:
    """The cases to evaluate on.

    Attributes:
        cases: Each with its subset in the model's split, or "unknown".
        notes: Notes about these cases for a reader of the figures, one sentence each.
    """

    cases: tuple[tuple[Case, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class EvaluatedModel:
    """A model under evaluation.

    Attributes:
        path: The run folder or the artifact.
        kind: "run folder" or "artifact".
        engine: The engine that computes the logits.
        contract: The requirements on a scan, and the meaning of the labels.
        digest: SHA-256 of the artifact, or of the run's weights.
        split: Subset -> SHA-256 of each of its case names.
        computed_by: The library that computes the logits, and its version.
    """

    path: Path
    kind: Literal["run folder", "artifact"]
    engine: Engine
    contract: Contract
    digest: str
    split: Mapping[str, tuple[str, ...]]
    computed_by: str

    @property
    def provenance(self) -> dict[str, str]:
        """What a report says of the model."""
        return {"path": str(self.path), "kind": self.kind, "sha256": self.digest, "computed_by": self.computed_by}

    def check_fits(self, data_set: DataSet) -> None:
        """Refuse a data set of other structures, another modality or other channels.

        Raises:
            DataSetError: The data set differs from the contract.
        """
        if data_set.labels.names != self.contract.labels.names:
            raise DataSetError(
                f"{data_set.folder}: its structures are {', '.join(data_set.labels.names)}; "
                f"{self.path} segments {', '.join(self.contract.labels.names)}; evaluate on a data set with these"
            )
        found = (data_set.modality, len(data_set.channels))
        expected = (self.contract.preprocessing.modality, len(self.contract.preprocessing.channels))
        if found != expected:
            raise DataSetError(
                f"{data_set.folder}: {found[0]} with {found[1]} channels; "
                f"{self.path} expects {expected[0]} with {expected[1]}"
            )

    def choose(self, data_set: DataSet, subset: Subset) -> ChosenCases:
        """Return the cases of a subset; a case that the model was trained on is never a test case.

        If the model's split names none of the cases, all of them are unseen, and "test" takes all.

        Raises:
            DataSetError: The subset is empty in this data set.
        """
        subset_by_digest = {digest: name for name, digests in self.split.items() for digest in digests}
        digests = hashed_names(tuple(case.name for case in data_set.cases))
        known = [subset_by_digest.get(digest, UNKNOWN) for digest in digests]
        cases = tuple(zip(data_set.cases, known, strict=True))
        if subset == "all":
            notes = ["Training cases are among these."] if "train" in known else []
            return ChosenCases(cases, tuple(notes))
        if set(known) == {UNKNOWN}:
            if subset != "test":
                raise DataSetError(
                    f"{data_set.folder}: none of its {counted(len(cases), 'case')} is in the split of "
                    f"{self.path}, so none is "
                    f"'{subset}'; evaluate them all with --split test"
                )
            return ChosenCases(
                cases, ("The model's split names none of these cases: all are unseen, and all are test cases.",)
            )
        chosen = tuple((case, name) for case, name in cases if name == subset)
        if not chosen:
            raise DataSetError(
                f"{data_set.folder}: none of its {counted(len(cases), 'case')} is in the {subset} part of the split of "
                f"{self.path}; choose another --split"
            )
        return ChosenCases(chosen, self._notes(subset, len(chosen), known.count(UNKNOWN)))

    def _notes(self, subset: Subset, found: int, unknown: int) -> tuple[str, ...]:
        notes = []
        if subset == "train":
            notes.append("These are the training cases: the figures say nothing about new patients.")
        if subset == "validation":
            notes.append("The checkpoint was selected on these cases: the figures are optimistic.")
        if found < len(self.split[subset]):
            notes.append(f"{found} of the {len(self.split[subset])} {subset} cases of the split are in this folder.")
        if unknown:
            notes.append(f"Not in the model's split, and left out: {counted(unknown, 'case')} of this folder.")
        return tuple(notes)


def open_model(
    path: Path, *, threads: int, precision: Precision = "fp32", engine: EngineChoice = "onnxruntime"
) -> EvaluatedModel:
    """Open a run folder (with PyTorch) or an artifact (without).

    Args:
        path: A folder that `embedded-vit train` wrote, or a file that `embedded-vit export` wrote.
        threads: CPU threads.
        precision: The precision of products, for a run folder; an artifact has its own.
        engine: The engine for an artifact; "auto" is the fastest. A run folder is computed by PyTorch.

    Raises:
        ConfigError: fp16 is given for an artifact or an engine for a run folder, or the engine is not installed.
        CheckpointError: There is nothing at `path`, or the run folder cannot be loaded.
        FileFormatError: The artifact cannot be loaded.
    """
    if path.is_dir():
        if engine not in ("onnxruntime", "auto"):
            raise ConfigError(f"{path}: PyTorch computes a run folder; export it to evaluate it in {engine}")
        return _open_run_folder(path, threads, precision)
    if not path.exists():
        raise CheckpointError(f"{path}: no such run folder or artifact")
    if precision != "fp32":
        raise ConfigError(f"{path}: an artifact computes in its own precision; evaluate the run folder in {precision}")
    loaded = load(path, engine, threads=threads, streams=threads)
    manifest = loaded.manifest
    return EvaluatedModel(
        path,
        "artifact",
        loaded,
        manifest.contract,
        sha256_of(path),
        manifest.split,
        f"{loaded.name} {loaded.version}",
    )


def _open_run_folder(path: Path, threads: int, precision: Precision) -> EvaluatedModel:
    import torch

    from embedded_vit.training.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    split = checkpoint.record.split
    return EvaluatedModel(
        path,
        "run folder",
        open_network(checkpoint.network, threads=threads, precision=precision),
        checkpoint.config.contract,
        sha256_of(path / "model.safetensors"),
        {name: hashed_names(split.names(name)) for name in ("train", "validation", "test")},
        f"PyTorch {torch.__version__}",
    )
