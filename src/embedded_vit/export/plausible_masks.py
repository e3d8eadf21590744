"""What masks look like, measured at export on training and validation cases."""

from __future__ import annotations

from collections.abc import Sequence

from embedded_vit.contract import Contract
from embedded_vit.datasets.data_set import Case, DataSet, Split
from embedded_vit.engines import Engine
from embedded_vit.mask_figures import FigureCollector, MaskFigures
from embedded_vit.plausibility import Plausibility, find_plausibility
from embedded_vit.predict.segmentation import segment
from embedded_vit.preprocessing import Grid
from embedded_vit.volume import LabelMap, Volume

__all__ = ["figures_of_case", "measured_plausibility"]

MOST_CASES = 16  # validation cases first, the others evenly chosen


def measured_plausibility(data_set: DataSet, split: Split, contract: Contract, engine: Engine) -> Plausibility | None:
    """Measure the true masks of some cases, and the network's own masks of their scans.

    Args:
        data_set: The data that the network was trained on.
        split: Its cases; those for testing are left out.
        contract: Of the network.
        engine: Computes the network.

    Returns:
        The ranges; None where too few cases are there, where the data set is another one, or for pictures, which show
        no body that structures would lie in.
    """
    if data_set.modality == "picture":
        return None
    cases = _chosen(data_set, split)
    figures = [each for case in cases for each in figures_of_case(*data_set.read_case(case), contract, engine)]
    return find_plausibility(figures, contract.labels, cases=len(cases))


def figures_of_case(
    volume: Volume, labels: LabelMap, contract: Contract, engine: Engine
) -> tuple[MaskFigures, MaskFigures]:
    """Return the figures of the network's mask of a scan, and those of the true mask, with the same certainty.

    Args:
        volume: The scan.
        labels: The true mask on its grid.
        contract: Of the network.
        engine: Computes the network.
    """
    preprocessing = contract.preprocessing
    upright, truth = volume.reoriented(preprocessing.orientation), labels.reoriented(preprocessing.orientation)
    collector = FigureCollector(Grid.of(upright, preprocessing), preprocessing, contract.labels.classes)
    mask = segment(upright, contract, engine, collector=collector)
    found = collector.figures(mask, mask.counts(), mask.at_border())
    for index in range(truth.shape[0]):
        collector.put(index, truth.get(index))
    return found, collector.figures(truth, truth.counts(), truth.at_border())


def _chosen(data_set: DataSet, split: Split) -> Sequence[Case]:
    """Return at most `MOST_CASES` cases; none where `--data` is another data set."""
    validation = [case for case in data_set.cases if case.name in split.validation]
    train = [case for case in data_set.cases if case.name in split.train]
    room = max(1, MOST_CASES - len(validation))
    return (validation + train[:: max(1, -(-len(train) // room))])[:MOST_CASES]
