"""What is killed besides predictions and trainings: compressions, builds and searches; each with what must come out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[[Path], None]
Result = Callable[[Path], dict[str, object]]


def _data(folder: Path, layout: str) -> Path:
    from embedded_vit.datasets import PhantomSettings, write_phantoms

    settings = PhantomSettings(size=64, slices=8)
    write_phantoms(folder / "data", 4, layout=layout, settings=settings, seed=1)  # type: ignore[arg-type]
    return folder / "data"


def _hidden(out: Path) -> list[str]:
    """Return the names of temporary files."""
    return sorted(path.name for path in out.rglob(".*"))


def _model_file(path: Path) -> object:
    """Return the manifest, which has the graph's digest, without the time when it was made and its folder's name."""
    from embedded_vit.artifact.manifest import read_artifact

    return read_artifact(path)[1].model_copy(update={"created": "", "name": ""})


def compression(folder: Path, apart: Callable[[Run, Path], None]) -> tuple[Run, Result]:
    """A compression in two steps: channels are pruned, then weights are rounded to 8 bits."""
    import torch

    from embedded_vit.compression.compressing import PLAN, compress
    from embedded_vit.compression.plan import CompressionPlan
    from embedded_vit.compression.record import read_compression_record
    from embedded_vit.training.progress import TrainingListener
    from embedded_vit.training.settings import TrainingConfig
    from embedded_vit.training.training import train

    torch.set_num_threads(1)
    data = _data(folder, "decathlon")
    settings = TrainingConfig.for_recipe("modern", epochs=2, batch_size=8)
    tiny = {"family": "unet", "image_size": 32, "widths": (16, 32)}  # whose export takes little time
    apart(
        lambda run: train(data, run, architecture=tiny, training=settings, validation_cases=1, threads=1) and None,
        folder / "trained",
    )
    steps = [{"prune_channels": {"target_macs": 0.7, "rounds": 1, "epochs": 1}}, {"quantize": {"precision": "int8"}}]
    plan = CompressionPlan.from_plain({"steps": steps}, source="the campaign")

    def run(out: Path) -> None:
        resume = (out / PLAN).is_file()
        compress(folder / "trained", plan, out, resume=resume, threads=1, listener=TrainingListener())

    def result(out: Path) -> dict[str, object]:
        stages = read_compression_record(out).stages
        return {
            "hidden files": _hidden(out),
            "stages": [(stage.name, stage.measured.macs, stage.measured.test) for stage in stages],
            "weights": (out / "model.safetensors").read_bytes(),
            "model file": _model_file(out / "model.onnx"),
        }

    return run, result


def whole_build(folder: Path, apart: Callable[[Run, Path], None]) -> tuple[Run, Result]:
    """A build by a plan that was written before."""
    import torch
    from build_fixtures import write_tiny_plan

    from embedded_vit.build.building import build
    from embedded_vit.evaluation.evaluating import METRICS_FILE
    from embedded_vit.planning.build_plan import PLAN_FILE

    del apart
    torch.set_num_threads(1)
    data = _data(folder, "nnunet")
    plan = (write_tiny_plan(data, folder / "plan") / PLAN_FILE).read_bytes()

    def run(out: Path) -> None:
        out.mkdir(exist_ok=True)
        if not (out / PLAN_FILE).exists():
            (out / PLAN_FILE).write_bytes(plan)
        build(data, out, threads=1)

    def result(out: Path) -> dict[str, object]:
        return {
            "hidden files": _hidden(out),
            "files": sorted(path.name for path in out.iterdir()),
            "scores": json.loads((out / "evaluation" / METRICS_FILE).read_text())["mean"],
            "weights": (out / "run" / "model.safetensors").read_bytes(),
            "model file": _model_file(out / "model.onnx"),
        }

    return run, result


def searching(folder: Path, apart: Callable[[Run, Path], None]) -> tuple[Run, Result]:
    """A search of four trials; a killed one draws other networks, so its trials are counted, not compared."""
    import torch
    from search_fixtures import ScriptedMeter

    from embedded_vit.search import searching as module
    from embedded_vit.search.space import Budget, SearchSettings

    del apart
    torch.set_num_threads(1)
    data, trials = _data(folder, "decathlon"), 4
    module.LatencyMeter = ScriptedMeter  # type: ignore[assignment, misc]
    given: dict[str, Any] = {"image_sizes": (32, 40), "context_slices": (1,), "validation_cases": 1}
    settings = SearchSettings(budget=Budget.read("macs=2e7"), family="hybrid", threads=1, epochs=1, **given)

    def run(out: Path) -> None:
        module.search(data, out, settings=settings, trials=trials)

    def result(out: Path) -> dict[str, object]:
        return {"hidden files": _hidden(out), "trials": counted_trials(out, trials)}

    return run, result


def counted_trials(out: Path, trials: int) -> list[str]:
    """Return what is wrong with the trials of a search that is over: lost ones, doubled ones, some still running."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.study import load_study
    from search_fixtures import wrong_trials

    from embedded_vit.search.study import JOURNAL, NAME

    study = load_study(study_name=NAME, storage=JournalStorage(JournalFileBackend(str(out / JOURNAL))))
    return wrong_trials(study.trials, json.loads((out / "search.json").read_text())["trials"], trials)
