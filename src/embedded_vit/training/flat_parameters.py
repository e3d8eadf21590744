"""A module's parameters in one vector, so that a step changes it by one operation in place of one a parameter."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

__all__ = ["FlatParameters"]


class FlatParameters:
    """Moves a module's parameters into one vector, of which they are views from then on, matrices before vectors.

    The module notices nothing: what changes the vector changes its parameters, and the other way round.

    Args:
        module: On its device already. Parameters that are frozen stay where they are.

    Attributes:
        vector: (P,) all of them.
        matrices: (M,) the weights of layers, as a parameter of its own for an optimizer.
        vectors: (P - M,) biases, norms and whatever else has one dimension or none, likewise.
        buffers: The module's buffers, which stay as they are.
        gradient: (P,) what `gather_gradients` found, and both parameters' gradient.
    """

    def __init__(self, module: nn.Module) -> None:
        learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._parameters = sorted(learned, key=lambda parameter: parameter.ndim < 2)
        self.vector = parameters_to_vector(self._parameters).detach()
        vector_to_parameters(self.vector, self._parameters)
        self.buffers = list(module.buffers())
        self.gradient = torch.zeros_like(self.vector)
        parts = [sum(parameter.numel() for parameter in learned if parameter.ndim > 1)]
        self.matrices, self.vectors = (nn.Parameter(part) for part in self.vector.tensor_split(parts))
        self.matrices.grad, self.vectors.grad = self.gradient.tensor_split(parts)

    def forget_gradients(self) -> None:
        """Take the gradients from the module's parameters."""
        for parameter in self._parameters:
            parameter.grad = None

    def gather_gradients(self) -> None:
        """Collect the gradients of the module's parameters in `gradient`; a parameter without one counts as zero."""
        gradients = [each.new_zeros(each.shape) if each.grad is None else each.grad for each in self._parameters]
        torch.cat([gradient.flatten() for gradient in gradients], out=self.gradient)

    def clip_gradients(self, largest: float) -> None:
        """Shorten `gradient` where its norm is above `largest`."""
        nn.utils.clip_grad_norm_([self.matrices, self.vectors], largest)
