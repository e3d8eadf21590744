"""What writes, for disks that fail: the act, and what may be left of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

MAY_STAY = (".predictions.lock",)  # hidden, and no temporary file


@dataclass(frozen=True)
class Action:
    """Something that writes.

    Attributes:
        name: In messages.
        act: Does it; again and again, as `check` removes what it wrote.
        check: Returns what is wrong with what is left.
        is_told: Whether a fault must end it with an error; else it may go on without what was to be written.
    """

    name: str
    act: Callable[[], object]
    check: Callable[[], str]
    is_told: bool = True


def actions(place: Path, others: Path) -> list[Action]:
    """Return all actions: they write below `place`, where the disk fails, and read `others`."""
    makers = (a_mask, a_text, a_list_of_predictions, a_run_folder, a_search, a_page, a_store_of_a_node)
    return [made for make in makers if (made := make(place, others)) is not None]


def left_in(folder: Path) -> str:
    """Return the temporary files and the masks without a summary, and remove the folder."""
    names = sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []
    hidden = [name for name in names if name.startswith(".") and name not in MAY_STAY]
    masks = [name for name in names if name.endswith(".nii.gz")]
    alone = [name for name in masks if name.replace(".nii.gz", ".json") not in names]
    shutil.rmtree(folder, ignore_errors=True)
    return f"left {hidden + alone}" if hidden or alone else ""


def a_mask(place: Path, others: Path) -> Action:
    """A prediction, spooled on the disk."""
    from faults.small_scans import predictor, write

    find, scan, out = predictor(others / "model"), write(others / "scan" / "0.nii.gz", 0), place / "out"

    def predict() -> None:
        find.predict(scan, spool_folder=place).save(out / "0.nii.gz")

    return Action("a mask", predict, partial(left_in, out))


def a_text(place: Path, others: Path) -> Action:
    """A file over another one."""
    from embedded_vit.io.atomic import write_text

    del others
    text = place / "text.json"
    text.write_text("before")

    def is_whole() -> str:
        whole = text.read_text() in ("before", "after" * 5000)
        text.write_text("before")
        return "" if whole else "the text is neither the old nor the new one"

    return Action("a text over another", lambda: write_text(text, "after" * 5000, overwrite=True), is_whole)


def a_list_of_predictions(place: Path, others: Path) -> Action:
    """A prediction in bulk; a scan that cannot be written is told and passed over."""
    from embedded_vit.predict.bulk.case_queue import MANIFEST, CaseQueue
    from embedded_vit.predict.bulk.running import cases_of, run_cases, scans_in
    from embedded_vit.predict.bulk.workers import InThisProcess
    from embedded_vit.predict.listener import Listener
    from embedded_vit.predict.one_scan import ScanWriter
    from embedded_vit.predict.results import Results
    from faults.small_scans import predictor, write_many

    find, scans, bulk = predictor(others / "model"), write_many(others / "scans", 2), place / "bulk"

    def in_bulk() -> None:
        bulk.mkdir(exist_ok=True)
        queue = CaseQueue(bulk, bulk / MANIFEST, find.model_sha256)
        try:
            results = Results()
            writer = ScanWriter(find, False, None, None, Listener(), results)
            cases = cases_of(scans_in(scans, ("CT",), bulk, Listener()), scans, bulk, results)
            run_cases(scans, bulk, cases, queue, InThisProcess(writer), Listener(), results)
        finally:
            queue.close()

    return Action("a list of predictions", in_bulk, partial(left_in, bulk), is_told=False)


def _phantoms(others: Path) -> Path:
    from embedded_vit.datasets import PhantomSettings, write_phantoms

    if not (others / "data").exists():
        settings = PhantomSettings(size=64, slices=8)
        write_phantoms(others / "data", 3, layout="decathlon", settings=settings, seed=1)
    return others / "data"


def a_run_folder(place: Path, others: Path) -> Action:
    """A training of one epoch, and the slices that it prepares."""
    import torch

    from embedded_vit.datasets import make_split, open_data_set
    from embedded_vit.training.progress import TrainingListener
    from embedded_vit.training.settings import TrainingConfig
    from embedded_vit.training.training import plan, train_planned

    torch.set_num_threads(1)
    data_set, run = open_data_set(_phantoms(others)), place / "run"
    split = make_split(data_set, seed=0, validation_cases=1)
    tiny = {"image_size": 32, "family": "unet", "widths": (8, 16)}
    training = TrainingConfig.for_recipe("modern", epochs=1, batch_size=8)
    config = plan(data_set, network=None, architecture=tiny, training=training)

    def train() -> None:
        train_planned(data_set, config, run, split=split, threads=1, listener=TrainingListener())

    return Action("a run folder", train, partial(left_in, run))


def a_search(place: Path, others: Path) -> Action:
    """A search of one trial, which is over the budget and not trained."""
    from search_fixtures import ScriptedMeter

    from embedded_vit.search import searching as module
    from embedded_vit.search.space import Budget, SearchSettings

    module.LatencyMeter = ScriptedMeter  # type: ignore[assignment, misc]
    data, out = _phantoms(others), place / "search"
    given: dict[str, Any] = {"image_sizes": (32,), "context_slices": (1,), "validation_cases": 1}
    settings = SearchSettings(budget=Budget.read("macs=1e3"), family="hybrid", threads=1, epochs=1, **given)
    return Action("a search", lambda: module.search(data, out, settings=settings, trials=1), partial(left_in, out))


def a_page(place: Path, others: Path) -> Action | None:
    """A page for a browser, where the package has its template."""
    from embedded_vit.page import assembling, write_page
    from faults.small_scans import model

    artifact, pages = model(others / "model"), place / "pages"
    if not assembling.TEMPLATE.is_file():
        return None
    return Action("a page", lambda: write_page(artifact, pages / "page.html"), partial(left_in, pages))


def a_store_of_a_node(place: Path, others: Path) -> Action:
    """The part of a node that receives: what it answers with Success is whole."""
    import pydicom
    from node_fixtures import bright_images, send
    from receiving_fixtures import Bench

    folder, images = place / "node", bright_images("1.2.3")
    answered: list[int] = []

    def receive() -> None:
        answered.clear()
        bench = Bench(folder, model_folder=others)
        try:
            answered.extend(send(bench.port, images, patience_seconds=5))
        finally:
            bench.close()

    def check() -> str:
        kept = [path for path in folder.glob("studies/*/images/*/*") if path.is_file()]
        whole = {str(pydicom.dcmread(path).SOPInstanceUID) for path in kept}
        taken = [str(image.SOPInstanceUID) for image, status in zip(images, answered, strict=False) if status == 0]
        lost = [uid for uid in taken if uid not in whole]
        stray = [path.name for path in folder.glob("incoming/*")]
        wrong = f"images {lost} were answered with Success and are not there" if lost else ""
        return left_in(folder) or wrong or (f"left in incoming: {stray}" if stray else "")

    return Action("a node's store", receive, check, is_told=False)
