"""All rows of the table, in the order in which they run; the soak is last."""

from __future__ import annotations

import shutil
from functools import partial
from importlib.util import find_spec

from faults import pages
from faults.at_once import processes_at_once, soaked, threads_at_once
from faults.body_parts import other_bodies
from faults.canaries import OTHERS, canaries
from faults.claims import ATTACKS, claimed
from faults.failing_disk import failing
from faults.killed_journal import killed_at_each_write
from faults.kills import killed
from faults.mutations import KINDS, mutated
from faults.network import network
from faults.nodes import node_at_once, node_canaries, node_killed
from faults.not_numbers import spoilt
from faults.orders import cases, ordered
from faults.pages import page_at_once, page_mutated
from faults.row import Row
from faults.soak import node_and_page_soaked
from faults.truncations import truncated

MUTATIONS = {
    "scan": "NIfTI",
    "dicom": "DICOM, plain and compressed",
    "picture": "PNG, JPEG, TIFF, BMP",
    "itk": "NRRD, MetaImage",
    "artifact": "model files, sealed again",
    "ours": "h5, dataset.json, plans, run folders and other files of ours",
    "predictions": "lists of predictions",
}
VERBS = 20  # calls of verbs in network.py, with --ray where Ray is installed
ONE_LINE = "no crash, one line within 2 s, 512 MiB"


def rows() -> list[Row]:
    """Return all rows."""
    itk = "" if find_spec("SimpleITK") else "SimpleITK is not installed"
    page = pages.lacks()
    return [
        *(
            Row(f"mutated: {MUTATIONS[kind]}", ONE_LINE, 20_000, partial(mutated, kind), itk if kind == "itk" else "")
            for kind in KINDS
        ),
        Row("truncated files", "refused, or the same result", 22_921, truncated),
        Row("bombs, claims, nesting, paths elsewhere", "refused within 2 s and 128 MiB", ATTACKS, claimed, itk),
        Row("SIGKILL of a prediction in bulk", "exactly once, nothing left", 200, partial(killed, "bulk")),
        Row("SIGKILL of a training", "the same weights, nothing left", 200, partial(killed, "training")),
        Row("SIGKILL of a compression", "the same result, nothing left", 200, partial(killed, "compression")),
        Row("SIGKILL of a build", "the same result, nothing left", 200, partial(killed, "build")),
        Row("SIGKILL of a search", "no trial lost or doubled, nothing left", 200, partial(killed, "search")),
        Row(
            "SIGKILL at each write of a search's journal",
            "no trial lost or doubled, nothing left",
            81,
            killed_at_each_write,
        ),
        Row(
            "full, broken, read-only disk at each write",
            "one line, the file before whole, nothing left",
            1556,
            failing,
            "" if shutil.which("cc") else "no C compiler",
        ),
        Row("NaN or infinity in voxels, spacings, weights", "an error, no mask", 2000, spoilt),
        Row("axis orders, oblique and sheared", "the same mask in the world", len(cases()), ordered, itk),
        Row("another body part or modality", "95 % told, 2 % of right ones refused", 200, other_bodies),
        Row("64 threads on one predictor", "no mask of another, memory flat", 10_000, threads_at_once),
        Row("8 processes on one model", "no mask of another", 800, processes_at_once),
        Row("canaries in text fields", "in no output", 96, canaries, least=OTHERS + 1),
        Row(
            "network: verbs under strace",
            "none, or only to the addresses that were given",
            VERBS,
            network,
            "" if shutil.which("strace") else "no strace",
            VERBS,
        ),
        Row("SIGKILL of the node", "each study once in the archive, nothing left", 200, node_killed),
        Row("node: 8 scanners at once", "no mask of another", 200, node_at_once),
        Row("node: canaries in text fields", "in the results alone, nothing stays", 100, node_canaries),
        Row("page: mutated NIfTI", "no crash, one line within 2 s", 20_000, page_mutated, page),
        Row("page: 8 processes on one model", "no mask of another", 800, page_at_once, page),
        Row("soak of node and page, seconds", "memory flat, no error", 7200, node_and_page_soaked, page),
        Row("soak: predictions in a loop, seconds", "memory flat, no wrong mask", 7200, soaked),
    ]
