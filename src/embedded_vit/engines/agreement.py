"""Agreement of two engines: a network and its export, or one graph in ONNX Runtime and in another engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedded_vit.engines.engine import Engine, GraphEngine
from embedded_vit.engines.registry import EngineName, open_graph
from embedded_vit.errors import ContractError, FileFormatError

__all__ = [
    "DECIDED",
    "MAXIMUM_DISAGREEMENT",
    "MAXIMUM_LABEL_DISAGREEMENT",
    "MAXIMUM_LOGIT_DIFFERENCE",
    "Agreement",
    "Candidate",
    "compare",
    "label_disagreement",
    "logits_of",
    "open_agreeing",
]

# Of a network and its exported graph.
MAXIMUM_LOGIT_DIFFERENCE = 1e-3
MAXIMUM_LABEL_DISAGREEMENT = 1e-4  # of all pixels
# Of one graph in two engines. They round differently, and the logits of an int8 network have coarse steps.
MAXIMUM_DISAGREEMENT = 5e-3
DECIDED = 1.0  # lead of the largest logit in a decided pixel


@dataclass(frozen=True)
class Agreement:
    """How far two engines agree.

    Attributes:
        max_logit_difference: The largest absolute difference of any logit; NaN where either engine gave a NaN.
        label_disagreement: The fraction of pixels whose largest logit is another class, in [0, 1].
        images: Number of images that were compared.
    """

    max_logit_difference: float
    label_disagreement: float
    images: int

    def check(self, what: str) -> None:
        """Refuse engines that do not agree.

        Raises:
            ContractError: A logit differs by more than 1e-3, or the label of more than 0.01 % of pixels.
        """
        if not self.max_logit_difference <= MAXIMUM_LOGIT_DIFFERENCE:  # NaN is refused too
            raise ContractError(
                f"{what}: logits differ by {self.max_logit_difference:.2g}, "
                f"at most {MAXIMUM_LOGIT_DIFFERENCE:g} is allowed; nothing was written"
            )
        if self.label_disagreement > MAXIMUM_LABEL_DISAGREEMENT:
            raise ContractError(
                f"{what}: the label of {self.label_disagreement:.3%} of pixels differs, at most "
                f"{MAXIMUM_LABEL_DISAGREEMENT:.2%} is allowed; nothing was written"
            )


def compare(engine_a: Engine, engine_b: Engine, inputs: Iterable[NDArray[np.float32]]) -> Agreement:
    """Run two engines on the same inputs.

    Args:
        engine_a, engine_b: Two forms of one network.
        inputs: Arrays (B, C, S, S) float32, at least one.
    """
    differences, differing, pixels, images = [], 0, 0, 0
    for image_bchw in inputs:
        logits_a, logits_b = engine_a.run(image_bchw), engine_b.run(image_bchw)
        differences.append(np.abs(logits_a - logits_b).max())
        labels_differ = logits_a.argmax(axis=1) != logits_b.argmax(axis=1)  # (B, S, S)
        differing += int(labels_differ.sum())
        pixels += labels_differ.size
        images += len(image_bchw)
    return Agreement(float(np.max(differences)), differing / pixels, images)


def label_disagreement(
    found: NDArray[np.float32], expected: NDArray[np.float32], *, decided_only: bool = False
) -> float:
    """Return the fraction of pixels that have another label.

    On noise a network is undecided far more often than on a scan. OpenVINO's int8 gives other labels than ONNX
    Runtime's to 0.05 % of the pixels of real slices, and to 1.5 % of those of noise, nearly all of them undecided.

    Args:
        found, expected: Logits (1, K, S, S).
        decided_only: Count only pixels where the largest expected logit leads by `DECIDED`; all if there are none.
    """
    different = found.argmax(axis=1) != expected.argmax(axis=1)  # (1, S, S)
    if decided_only:
        *_, second, largest = np.sort(expected, axis=1).swapaxes(0, 1)  # (1, S, S) each
        decided = largest - second >= DECIDED
        if decided.any():
            different = different[decided]
    return float(different.mean())


def logits_of(engine: Engine, images: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]] | None:
    """Return the logits of each image; None where a second call gives other labels."""
    first, second = ([engine.run(image) for image in images] for _ in range(2))
    same = all(np.array_equal(a.argmax(axis=1), b.argmax(axis=1)) for a, b in zip(first, second, strict=True))
    return first if same else None


@dataclass(frozen=True)
class Candidate:
    """An engine that was given a graph, and how it agrees with the expected logits.

    Attributes:
        engine: The engine, open; None where it cannot be used.
        low_precision_transforms: The setting with which it agrees; see `embedded_vit.engines.open_graph`.
        disagreement: Lowest fraction of pixels with another label over all settings tried; 1 if none was compared.
        failure: Why the engine cannot be used; empty where it can.
    """

    engine: GraphEngine | None
    low_precision_transforms: bool
    disagreement: float
    failure: str


def open_agreeing(
    graph: bytes,
    name: EngineName,
    expected: Sequence[NDArray[np.float32]],
    images: Sequence[NDArray[np.float32]],
    *,
    int8: bool,
    decided_only: bool = False,
    threads: int | None = None,
    bf16: bool = False,
    source: str = "graph",
) -> Candidate:
    """Open a graph in an engine that gives the expected labels, and gives them again at a second call.

    Args:
        graph: A serialized ONNX model.
        name: The engine.
        expected: Logits of each image in ONNX Runtime.
        images: Each (1, C, S, S) float32.
        int8: Whether the graph is quantized. If so and the engine's labels differ, it is tried without low-precision
            transforms.
        decided_only: As `label_disagreement` takes it.
        threads, bf16, source: As `open_graph` takes them.

    Raises:
        ConfigError: The engine is not installed.
    """
    nearest, failure = 1.0, ""
    for transforms in (True, False) if int8 else (True,):
        try:
            engine = open_graph(
                graph, name, threads=threads, bf16=bf16, low_precision_transforms=transforms, source=source
            )
            found = logits_of(engine, images)
        except FileFormatError as error:
            return Candidate(None, transforms, nearest, f"cannot run it ({str(error).removeprefix(f'{source}: ')})")
        if found is None:
            failure = "gives other labels at a second call"
            continue
        pairs = zip(found, expected, strict=True)
        disagreement = float(np.mean([label_disagreement(*pair, decided_only=decided_only) for pair in pairs]))
        nearest = min(nearest, disagreement)
        if disagreement <= MAXIMUM_DISAGREEMENT:
            return Candidate(engine, transforms, disagreement, "")
        pixels = "decided pixels" if decided_only else "pixels"
        failure = f"gives {disagreement:.1%} of the {pixels} another label than ONNX Runtime"
    return Candidate(None, False, nearest, failure)
