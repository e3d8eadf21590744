"""The state of a training: the network, its averaged weights, the optimizer."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from embedded_vit.errors import CheckpointError
from embedded_vit.training.flat_parameters import FlatParameters
from embedded_vit.training.schedule import make_optimizer, update_average
from embedded_vit.training.settings import RunConfig
from embedded_vit.training.supervision import make_supervision

__all__ = ["Learner"]

AUTOCAST_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Learner:
    """A network in training, and everything that an optimizer step changes with it.

    Args:
        network: A fresh network, or one with the weights to start from.
        config: The run's configuration.
        device: "cpu", "cuda", "cuda:1", ...

    Attributes:
        network: The network that the optimizer changes.
        average: The averaged weights, in a network of the same form.
        supervision: Turns a batch into logits and a loss; it holds the heads on coarser features.
        parameters, averaged_parameters: The parameters of network and supervision, and those of their averages.
    """

    def __init__(self, network: nn.Module, config: RunConfig, device: str = "cpu") -> None:
        self.config, self.training, self.device = config, config.training, torch.device(device)
        self.network = network.to(self.device)
        self.supervision = make_supervision(self.network, config).to(self.device)
        learning = nn.ModuleList([self.network, self.supervision])
        averages = copy.deepcopy(learning)
        self.average = averages[0]
        self.parameters, self.averaged_parameters = FlatParameters(learning), FlatParameters(averages)
        averages.requires_grad_(False)
        self.optimizer = make_optimizer(self.parameters, self.training)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.training.precision == "fp16")

    @property
    def evaluated(self) -> nn.Module:
        """The network whose weights are validated and kept."""
        return self.network if self.training.ema_decay is None else self.average

    def autocast(self, *, cache: bool = True) -> torch.autocast:
        """Return a context in which the network computes in the training's precision.

        Args:
            cache: Whether to keep converted weights within a step, which a CUDA graph must not see.
        """
        dtype = AUTOCAST_TYPES[self.training.precision]
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32, cache_enabled=cache)

    def change_weights(self, rate: float | Tensor, kept: float | Tensor) -> None:
        """Take one optimizer step with the gathered gradients, and move the average.

        Args:
            rate: The learning rate; a tensor where the optimizer's own is one.
            kept: The share of themselves that averaged weights keep.
        """
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].copy_(torch.as_tensor(rate))
            else:
                group["lr"] = float(rate)
        self.scaler.unscale_(self.optimizer)
        if self.training.gradient_clip is not None:
            self.parameters.clip_gradients(self.training.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.training.ema_decay is not None:
            update_average(self.averaged_parameters, self.parameters, kept=kept)

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor that resuming needs, by name."""
        found = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        found |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        found |= {f"supervision.{name}": tensor for name, tensor in self.supervision.state_dict().items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            found |= {
                f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in values.items() if value is not None
            }
        return found

    def load(self, tensors: dict[str, Tensor], *, source: Path) -> None:
        """Load the state that `tensors` returned.

        Args:
            tensors: Every tensor by name.
            source: The file of the tensors, for messages.

        Raises:
            CheckpointError: Another version wrote the optimizer's state.
        """
        self.network.load_state_dict(_under(tensors, "network."))
        self.average.load_state_dict(_under(tensors, "average."))
        self.supervision.load_state_dict(_under(tensors, "supervision."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under(tensors, "optimizer.").items():
            index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
        if state.keys() != {0, 1}:  # matrices and vectors
            raise CheckpointError(
                f"{source}: the optimizer's state is not of this version; train again, from its weights with --init"
            )
        kept = {"momentum_buffer"} if self.training.recipe == "paper" else {"step", "exp_avg", "exp_avg_sq"}
        for number, parameter in enumerate((self.parameters.matrices, self.parameters.vectors)):
            shapes = {key: tuple(tensor.shape) for key, tensor in state[number].items()}
            expected = {key: () if key == "step" else tuple(parameter.shape) for key in kept}
            if shapes != expected:
                raise CheckpointError(
                    f"{source}: the optimizer's state is damaged ({shapes}, expected {expected}); train again, from "
                    "its weights with --init"
                )
        groups: Any = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
