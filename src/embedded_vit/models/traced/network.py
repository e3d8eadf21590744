"""A network that somebody else wrote, as the graph of its operations.

PyTorch traces the network once (`torch.export`). The graph holds every number that the class computed from its widths,
so channels can be removed without asking the class: the tensors lose entries, and the numbers in the graph follow.
Parameters keep the names that the class gave them.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from embedded_vit.errors import NetworkError
from embedded_vit.models.traced.entries import Axis
from embedded_vit.models.traced.rewriting import rewrite
from embedded_vit.models.traced.rules import COMPUTING, put_by_place, set_argument
from embedded_vit.models.traced.shape_rules import MOVING
from embedded_vit.models.traced.walk import Walk, operation
from embedded_vit.quiet import without_warnings

__all__ = ["TracedNetwork", "tensor_named"]

BATCH = 2  # images that the graph is walked with; one would be taken for any number
TRAINING_FLAG = {"batch_norm": 5, "dropout": 2, "feature_dropout": 2, "alpha_dropout": 2}  # place of the argument


class TracedNetwork(nn.Module):
    """A network as the graph of its operations: images (B, C, S, S) in, logits (B, K, T, T) out.

    Attributes:
        graph: The operations.
        image_shape: (C, S, S) of the images that it takes; no others fit.
    """

    def __init__(self, root: nn.Module, graph: fx.Graph, image_shape: tuple[int, int, int]) -> None:
        """Take over the tensors of `root`, under their names, and the operations of `graph`."""
        super().__init__()
        for name, child in root.named_children():
            self.add_module(name, child)
        for name, parameter in root.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, buffer in root.named_buffers(recurse=False):
            self.register_buffer(name, buffer)
        self.graph, self.image_shape = graph, image_shape
        self._macs: int | None = None  # until channels go
        for node in graph.nodes:
            put_by_place(node)
        self.train(False)

    @classmethod
    def of(cls, network: nn.Module, image_shape: tuple[int, int, int]) -> TracedNetwork:
        """Trace a network, which shares its tensors with the graph afterwards.

        Args:
            network: Takes images of any number.
            image_shape: (C, S, S).

        Raises:
            NetworkError: PyTorch cannot trace it.
        """
        device = next(network.parameters()).device
        image = torch.zeros(BATCH, *image_shape, device=device)
        was_training = network.training
        try:
            with torch.random.fork_rng(devices=[]), without_warnings():
                program = torch.export.export(
                    network.eval(), (image,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
                )
                module = program.module()
                graph = copy.deepcopy(module.graph)
        except Exception as error:  # what a stranger's code raises under the tracer is of any kind
            reason = " ".join(str(error).split())[:200]
            raise NetworkError(
                f"{type(network).__name__}: PyTorch cannot trace it, so channels cannot be removed ({reason})"
            ) from error
        finally:
            network.train(was_training)
        graph.set_codegen(fx.graph.CodeGen())
        for node in list(graph.nodes):
            if node.op == "call_module":  # checks of the input's shape
                graph.erase_node(node)
            if node.op == "output":
                node.args = (_only_tensor(node.args[0], network),)
        _remove_guards(module)
        return cls(module, graph, image_shape)

    def forward(self, image: Tensor) -> Tensor:
        """Segment images (B, C, S, S): logits (B, K, T, T)."""
        logits: Tensor = self._run(self, image)
        return logits

    def train(self, mode: bool = True) -> TracedNetwork:
        """Set whether norms take their figures from the batch, and whether dropout drops."""
        super().train(mode)
        for node in self.graph.nodes:
            place = TRAINING_FLAG.get(operation(node)) if node.op == "call_function" else None
            if place is not None:
                set_argument(node, place, mode)
        self._compile()
        return self

    def macs(self, image_size: int, *, input_channels: int) -> int:
        """Count the multiply-accumulates of one image of the shape that was traced: convolutions, matrix products.

        Raises:
            NetworkError: Another shape is asked for.
        """
        if (input_channels, image_size, image_size) != self.image_shape:
            raise NetworkError(f"traced for images of {self.image_shape}; {(input_channels, image_size)} was asked for")
        if self._macs is None:
            self._macs = round(sum(product.macs for product in self.walk().products))
        return self._macs

    def walk(self) -> Walk:
        """Return the axes of all tensors, and which of their entries belong together."""
        device = next(self.parameters()).device
        _Shapes(self, graph=self.graph).run(torch.zeros(BATCH, *self.image_shape, device=device))
        return Walk(self.graph, BATCH, COMPUTING | MOVING)

    def remove(self, walk: Walk, roots: Iterable[int]) -> None:
        """Remove entries from all tensors.

        Args:
            walk: Of the network as it is.
            roots: One number for the entries that belong together, as `Entries.roots` gives them.
        """
        gone = np.array(sorted(roots), np.int64)

        def kept(axis: Axis) -> NDArray[np.bool_]:
            return ~np.isin(walk.entries.roots(axis), gone)

        for node in self.graph.nodes:
            if node.op == "get_attr":
                self._cut(str(node.target), [kept(axis) for axis in walk.of(node)])
        rewrite(self.graph, walk, kept)
        self._macs = None
        self._compile()

    def _cut(self, name: str, kept: list[NDArray[np.bool_]]) -> None:
        owner_name, _, attribute = name.rpartition(".")
        owner, values = self.get_submodule(owner_name), tensor_named(self, name)
        cut = values.detach()
        for dimension, mask in enumerate(kept):
            if not mask.all():
                places = torch.from_numpy(np.flatnonzero(mask)).to(values.device)
                cut = cut.index_select(dimension, places)
        if cut.shape != values.shape:
            trained = isinstance(values, nn.Parameter)
            setattr(owner, attribute, nn.Parameter(cut, values.requires_grad) if trained else cut)

    def _compile(self) -> None:
        code = self.graph.python_code("self")
        names: dict[str, Any] = dict(code.globals)
        exec(code.src, names)  # as fx.GraphModule does; the source is made from the graph
        self._run: Callable[[nn.Module, Tensor], Tensor] = names["forward"]


class _Shapes(fx.Interpreter):
    """Runs a graph and notes the shapes of all tensors."""

    def run_node(self, node: fx.Node) -> Any:
        with torch.no_grad():
            result = super().run_node(node)
        node.meta.pop("shape", None)
        if isinstance(result, Tensor):
            node.meta["shape"] = tuple(result.shape)
        elif isinstance(result, (list, tuple)) and all(isinstance(each, Tensor) for each in result):
            node.meta["shape"] = [tuple(each.shape) for each in result]
        return result


def tensor_named(network: nn.Module, name: str) -> Tensor:
    """Return a parameter or a buffer by its name."""
    tensor: Tensor = operator.attrgetter(name)(network)
    return tensor


def _only_tensor(output: Any, network: nn.Module) -> fx.Node:
    while isinstance(output, (list, tuple)) and len(output) == 1:
        (output,) = output
    if not isinstance(output, fx.Node):
        raise NetworkError(f"{type(network).__name__}: its forward must return the logits alone, one tensor")
    return output


def _remove_guards(module: nn.Module) -> None:
    """Remove the submodule that newer versions of PyTorch add to check an input."""
    if hasattr(module, "_guards_fn"):
        del module._guards_fn
