"""The processes that train together, as torchrun starts them, and what they exchange."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as distributed

from embedded_vit.errors import ConfigError

__all__ = [
    "Processes",
    "check_device",
    "joined_processes",
    "keep_freed_memory",
    "may_restart",
    "sum_over_processes",
]

PATIENCE = timedelta(hours=24)  # the others wait while the first process prepares the slices of a large data set


@dataclass(frozen=True)
class Processes:
    """The place of this process among all that train together."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and talks to the user."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until every process calls this."""
        if self.count > 1:
            distributed.barrier()

    def begin_mean(self, tensor: torch.Tensor) -> Callable[[], object]:
        """Start to replace a tensor by its mean over the processes; calling the result waits for the mean."""
        if self.count == 1:
            return lambda: None
        tensor /= self.count
        return distributed.all_reduce(tensor, async_op=True).wait

    def mean(self, value: float) -> float:
        """Return the mean of a number over the processes."""
        if self.count == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(tensor)
        return float(tensor) / self.count


def may_restart() -> bool:
    """Whether torchrun starts the processes again when one has died: `torchrun --max-restarts N`.

    All processes of a training see the same, which is not so for the number of restarts.
    """
    restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "")
    return restarts.isdecimal() and int(restarts) > 0


@contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, by gloo, or NCCL for GPUs; without torchrun there is one process.

    Where somebody has joined them already, as Ray Train does, they stay joined.
    """
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if distributed.is_available() and distributed.is_initialized():
        yield Processes(distributed.get_rank(), distributed.get_world_size(), local_rank)
        return
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Processes(distributed.get_rank(), count, local_rank)
    finally:
        distributed.destroy_process_group()


def sum_over_processes(tensor: torch.Tensor, *, used_alike: bool = False) -> torch.Tensor:
    """Return the sum of a tensor over all processes, through which gradients flow; one process gets its own tensor.

    Args:
        tensor: A tensor of the same shape in all processes.
        used_alike: Whether every process computes the same from the sum. Gradients then need no exchange.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return tensor
    total: torch.Tensor = _SumOverProcesses.apply(tensor, used_alike)
    return total


class _SumOverProcesses(torch.autograd.Function):
    """A sum over processes: values are added on the way forward, gradients on the way back."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, used_alike: bool) -> torch.Tensor:
        ctx.used_alike = used_alike
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        if ctx.used_alike:
            return gradient * distributed.get_world_size(), None
        total = gradient.clone()
        distributed.all_reduce(total)
        return total, None


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory, because a training step asks for it again at once.

    Without glibc nothing happens. docs/log/training-throughput.md has figures.
    """
    trim_threshold, mmap_threshold, kept = -1, -3, 1 << 30
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # TypeError: Windows opens no library without a name
        return
    mallopt(trim_threshold, kept)
    mallopt(mmap_threshold, kept)


def check_device(device: str) -> None:
    """Refuse a device that this computer or this PyTorch does not have, before any work is done.

    Args:
        device: As `--device` gives it.

    Raises:
        ConfigError: It is not a known device, or it is not there.
    """
    kind, _, number = device.partition(":")
    if kind == "cpu" and not number:
        return
    if kind not in ("cuda", "mps") or (number and not (kind == "cuda" and number.isdecimal())):
        raise ConfigError(f"--device {device}: expected cpu, cuda, cuda:N or mps")
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise ConfigError("--device mps: PyTorch finds no Apple GPU here; use --device cpu")
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise ConfigError(f"--device {device}: PyTorch finds no CUDA GPU here; use --device cpu")
    if int(number or 0) >= count:
        raise ConfigError(f"--device {device}: there are only the GPUs 0 to {count - 1}; choose one of them")
