"""Labelled data sets on disk, and phantoms: data sets of patients who do not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = [
    "Case",
    "DataSet",
    "DataSetReport",
    "PhantomSettings",
    "Split",
    "check_data_set",
    "make_phantom",
    "make_split",
    "open_data_set",
    "open_data_set_like",
    "write_phantoms",
]

if TYPE_CHECKING:
    from embedded_vit.datasets.check import DataSetReport, check_data_set
    from embedded_vit.datasets.data_set import Case, DataSet, Split, make_split
    from embedded_vit.datasets.layouts import open_data_set, open_data_set_like
    from embedded_vit.datasets.phantom import PhantomSettings, make_phantom
    from embedded_vit.datasets.phantom_writer import write_phantoms
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "check": ["DataSetReport", "check_data_set"],
            "data_set": ["Case", "DataSet", "Split", "make_split"],
            "layouts": ["open_data_set", "open_data_set_like"],
            "phantom": ["PhantomSettings", "make_phantom"],
            "phantom_writer": ["write_phantoms"],
        },
    )
