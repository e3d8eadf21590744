"""What the stages after the training will take, measured on one case before it begins."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from embedded_vit.datasets.data_set import Case, DataSet
from embedded_vit.engines import open_network
from embedded_vit.evaluation.protocol import PROTOCOLS
from embedded_vit.export.plausible_masks import MOST_CASES
from embedded_vit.models.registry import build_network
from embedded_vit.provenance import available_cores
from embedded_vit.training.settings import RunConfig

__all__ = ["CaseCosts", "measured_costs"]

EXPORT_SECONDS = 20.0  # importing and running the exporter, without cases
SPACING_AND_CHECK_CASES = 20  # cases that an export reads besides those whose masks it looks at
MARGIN = 1.3  # of what is measured on one case, for cases that are larger


@dataclass(frozen=True)
class CaseCosts:
    """Seconds that one case takes to be read, segmented and scored."""

    read: float
    segment: float
    score: float

    def export_seconds(self, cases: int) -> float:
        """Return what an export takes, of a run with so many training and validation cases."""
        looked_at = min(cases, MOST_CASES)
        read = min(cases, SPACING_AND_CHECK_CASES) * self.read
        return EXPORT_SECONDS + MARGIN * (looked_at * (self.read + self.segment) + read)

    def score_seconds(self, cases: int) -> float:
        """Return what an evaluation of so many cases takes."""
        return MARGIN * cases * (self.read + self.segment + self.score)


def measured_costs(data_set: DataSet, case: Case, config: RunConfig, *, threads: int | None) -> CaseCosts:
    """Read, segment and score one case with an untrained network, whose masks do not matter.

    Args:
        data_set: The data set.
        case: A case with a mask.
        config: Of the network to come.
        threads: CPU threads; None for all cores.
    """
    threads = threads or available_cores()
    torch.manual_seed(config.training.seed)
    engine, protocol = open_network(build_network(config.network).eval(), threads=threads), PROTOCOLS["strict"]
    began = time.perf_counter()
    volume, truth = data_set.read_case(case)
    read = time.perf_counter()
    protocol.segment(volume, config.contract, engine)
    segmented = time.perf_counter()
    # The mask of an untrained network is noise, which takes far longer to compare than any that is scored later.
    protocol.score(truth, truth, labels=len(config.labels.labels), threads=threads)
    return CaseCosts(read - began, segmented - read, time.perf_counter() - segmented)
