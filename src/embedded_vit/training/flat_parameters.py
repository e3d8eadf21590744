"""A module's parameters in one vector, so that an optimizer step is one operation, not one for each parameter."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

__all__ = ["FlatParameters"]


class FlatParameters:
    """A vector that holds a module's parameters, matrices before vectors.

    The parameters become views of the vector, so a change of one is a change of the other.

    Args:
        module: The module, already on its device. Frozen parameters are left out.

    Attributes:
        vector: (P,) all parameters.
        matrices: (M,) the weights of layers, as a parameter of its own for an optimizer.
        vectors: (P - M,) biases, norms and whatever else has one dimension or none, likewise.
        buffers: The module's buffers, unchanged.
        gradient: (P,) as `gather_gradients` fills it; `matrices` and `vectors` have their gradients in it.
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
        """Clear the gradients of the module's parameters."""
        for parameter in self._parameters:
            parameter.grad = None

    def gather_gradients(self) -> None:
        """Collect the gradients of the module's parameters in `gradient`; a parameter without one counts as zero."""
        gradients = [each.new_zeros(each.shape) if each.grad is None else each.grad for each in self._parameters]
        torch.cat([gradient.flatten() for gradient in gradients], out=self.gradient)

    def clip_gradients(self, largest: float) -> None:
        """Scale `gradient` down to the norm `largest` if its norm is larger."""
        nn.utils.clip_grad_norm_([self.matrices, self.vectors], largest)
