"""PyTorch as an engine: a network in training is evaluated in the same way as a model file."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from embedded_vit.engines.engine import refuse_not_finite

__all__ = ["TorchEngine"]


class TorchEngine:
    """A PyTorch network as an engine on the CPU; `embedded_vit.engines.open_network` describes the arguments."""

    streams = 1  # PyTorch's threads are the whole process's

    def __init__(
        self, network: torch.nn.Module, *, threads: int | None, precision: Literal["fp32", "fp16", "bf16"]
    ) -> None:
        self._network = network.eval().float().cpu()
        if threads is not None:
            torch.set_num_threads(threads)
        self._type = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]

    def run(self, image_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits: (B, C, S, S) float32 in [-1, 1] -> (B, K, S, S) float32."""
        image = torch.from_numpy(np.ascontiguousarray(image_bchw))
        with torch.inference_mode(), torch.autocast("cpu", self._type, enabled=self._type != torch.float32):
            logits: NDArray[np.float32] = self._network(image).float().numpy()
        refuse_not_finite(logits, "the network", "PyTorch")
        return logits
