"""Time the metrics of one 90 x 512 x 512 case with eight organs, ours and medpy's in turn.

python benchmarks/metrics.py --repeats 3
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from footnote import footnote
from medpy.metric import binary
from numpy.typing import NDArray

from embedded_vit.evaluation.metrics import compare_masks

SHAPE = (90, 512, 512)
SPACING_MM = (3.0, 0.8, 0.8)
TOLERANCE_MM = 2.0
# Centre and radii in voxels (slices, rows, columns) of organs in plausible places; they do not overlap.
ORGANS = {
    "aorta": ((45, 250, 315), (30, 14, 14)),
    "gallbladder": ((40, 250, 150), (8, 16, 20)),
    "left kidney": ((45, 335, 325), (14, 28, 30)),
    "right kidney": ((45, 165, 330), (14, 28, 30)),
    "liver": ((52, 130, 215), (25, 88, 78)),
    "pancreas": ((45, 250, 245), (6, 25, 45)),
    "spleen": ((55, 395, 285), (14, 35, 45)),
    "stomach": ((50, 335, 200), (18, 40, 55)),
}


def organs(shift: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Draw one ellipsoid for each organ, moved by `shift` voxels: (slices, rows, columns) uint8."""
    mask = np.zeros(SHAPE, np.uint8)
    axes = np.ogrid[tuple(slice(length) for length in SHAPE)]
    for label, (centre, radii) in enumerate(ORGANS.values(), start=1):
        terms = [
            ((axis - middle - moved) / radius) ** 2
            for axis, middle, moved, radius in zip(axes, centre, shift, radii, strict=True)
        ]
        mask[terms[0] + terms[1] + terms[2] <= 1] = label
    return mask


def ours(prediction: NDArray[np.uint8], truth: NDArray[np.uint8], threads: int) -> list[tuple[float, float, float]]:
    """Return Dice, Jaccard and HD95 of every organ from our metrics, which compute NSD too."""
    results = compare_masks(
        prediction, truth, labels=len(ORGANS), spacing=SPACING_MM, tolerance=TOLERANCE_MM, threads=threads
    )
    return [(result.dice or 0, result.jaccard or 0, result.hausdorff_95 or 0) for result in results]


def medpys(prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> list[tuple[float, float, float]]:
    """Return the same values computed by medpy, which has no NSD."""
    values = []
    for label in range(1, len(ORGANS) + 1):
        pair = prediction == label, truth == label
        values.append((binary.dc(*pair), binary.jc(*pair), binary.hd95(*pair, voxelspacing=SPACING_MM)))
    return values


def main() -> None:
    """Measure both and print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each; medpy takes a minute a run")
    parser.add_argument("--threads", type=int, default=2, help="organs that our metrics compare at the same time")
    arguments = parser.parse_args()
    prediction, truth = organs((2, 3, -4)), organs((0, 0, 0))
    contestants: dict[str, Callable[[], list[tuple[float, float, float]]]] = {
        "embedded-vit": lambda: ours(prediction, truth, arguments.threads),
        "medpy": lambda: medpys(prediction, truth),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    values = {}
    for _ in range(arguments.repeats):
        for name, run in contestants.items():
            start = time.perf_counter()
            values[name] = run()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    difference = np.abs(np.subtract(values["embedded-vit"], values["medpy"])).max()
    print(f"metrics of {' x '.join(map(str, SHAPE))} voxels, {len(ORGANS)} organs, median of {arguments.repeats} runs")
    for name, median in medians.items():
        print(f"  {name:<12} {median:8.3f} s   ({', '.join(f'{value:.3f}' for value in seconds[name])})")
    print(f"  ratio        {medians['medpy'] / medians['embedded-vit']:8.1f}")
    print(f"  largest difference of Dice, Jaccard and HD95: {difference:.1e}")
    print(f"{arguments.threads} threads; {footnote()}")


if __name__ == "__main__":
    main()
