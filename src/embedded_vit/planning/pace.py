"""How fast this computer trains and labels: a dozen optimizer steps, and a graph in ONNX Runtime."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from embedded_vit.costs.latency import steady_latency_ms
from embedded_vit.engines import example_image, open_graph
from embedded_vit.export.exporting import onnx_graph
from embedded_vit.models.registry import build_network
from embedded_vit.training.distortion import Mirroring, draw
from embedded_vit.training.eager_stepper import EagerStepper
from embedded_vit.training.learner import Learner
from embedded_vit.training.processes import Processes, keep_freed_memory
from embedded_vit.training.settings import RunConfig
from embedded_vit.training.slices import SliceSet
from embedded_vit.training.stepper import DrawnBatch

__all__ = ["Pace", "measured_latency_ms", "measured_pace"]

STEPS, WARM_UP_STEPS, SECONDS_LIMIT, FEWEST_STEPS = 12, 2, 12.0, 4
UNINTERRUPTED_PERCENTILE = 25
SLICES = 48
LATENCY_ROUNDS, LATENCY_SECONDS = 60, 6.0


@dataclass(frozen=True)
class Pace:
    """Seconds that training takes for one slice: `base` plus `pixel` for each pixel."""

    base: float
    pixel: float

    @classmethod
    def through(cls, small: tuple[int, float], large: tuple[int, float]) -> Pace:
        """Return the pace through two measurements, each an image size and its seconds for a slice."""
        (side, seconds), (other_side, other_seconds) = small, large
        pixel = max(0.0, (other_seconds - seconds) / (other_side**2 - side**2))
        return cls(max(0.0, seconds - pixel * side**2), pixel or seconds / side**2)

    def seconds(self, size: int) -> float:
        """Return the seconds for one slice of S x S pixels."""
        return self.base + self.pixel * size**2


def measured_pace(small: RunConfig, large: RunConfig, *, device: str = "cpu") -> Pace:
    """Train two sizes of a network on noise for a dozen steps each.

    Args:
        small, large: Configurations that differ in their image size.
        device: Where.
    """
    keep_freed_memory()
    first, second = (
        (config.network.image_size, _seconds_a_step(config, device) / config.training.batch_size)
        for config in (small, large)
    )
    return Pace.through(first, second)


def _seconds_a_step(config: RunConfig, device: str) -> float:
    """Return the time of an optimizer step that is not interrupted for long, augmentation included."""
    training = config.training
    torch.manual_seed(0)
    learner = Learner(build_network(config.network), config, device)
    stepper = EagerStepper(learner, _noise(config), Processes())
    stepper.begin(steps=10 * STEPS, first_step=0)
    learner.network.train()
    random, everything = np.random.default_rng(0), np.arange(SLICES)
    mirror = Mirroring.of(config)
    batches = (
        DrawnBatch(
            random.integers(0, SLICES, training.batch_size),
            [draw(training, random, mirror=mirror, others=everything) for _ in range(training.batch_size)],
            step,
        )
        for step in range(STEPS)
    )
    seconds, started = [], time.perf_counter()
    before = started
    for _ in stepper.train(batches):
        now = time.perf_counter()
        seconds.append(now - before)
        before = now
        if now - started > SECONDS_LIMIT and len(seconds) >= FEWEST_STEPS:
            break
    return float(np.percentile(seconds[WARM_UP_STEPS:], UNINTERRUPTED_PERCENTILE))


def _noise(config: RunConfig) -> SliceSet:
    """Return slices of noise as a training sees them."""
    random, size = np.random.default_rng(0), config.network.image_size
    images = random.uniform(-1, 1, (SLICES, len(config.preprocessing.channels), size, size)).astype(np.float16)
    labels = random.integers(0, config.network.classes, (SLICES, size, size), dtype=np.uint8)
    return SliceSet(images, labels, ("noise",), np.zeros(SLICES, np.int64), "")


def measured_latency_ms(config: RunConfig) -> float:
    """Return what one slice takes in ONNX Runtime on one thread, in milliseconds, with untrained weights."""
    torch.manual_seed(0)
    graph = onnx_graph(build_network(config.network).eval(), config.preprocessing)
    opened = open_graph(graph, "onnxruntime", threads=1, source=config.network.name)
    query = partial(opened.run, example_image(config.preprocessing))
    (milliseconds,) = steady_latency_ms([query], threads=1, rounds=LATENCY_ROUNDS, seconds_limit=LATENCY_SECONDS)
    return float(milliseconds)
