"""Where figures come from: the machine, the versions, and digests of model and data."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from embedded_vit.about import __version__
from embedded_vit.volume import LabelMap, Volume

__all__ = ["available_cores", "case_digest", "describe_machine", "processor_name", "versions"]


def available_cores() -> int:
    """The cores that this process may run on, which a container or `taskset` may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """The processor's model name as Linux gives it, or what Python knows elsewhere."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe_machine(device: str = "cpu") -> str:
    """Processor, architecture, usable cores and operating system, in one line, and the GPU if that is the device."""
    described = f"{processor_name()} ({platform.machine()}, {available_cores()} cores), {platform.system()}"
    if device.startswith("cuda"):
        import torch

        described += f", {torch.cuda.get_device_name(device)}"
    return described


def versions() -> dict[str, str]:
    """This package, Python, and the libraries that decide a figure, those that are installed."""
    found = {"embedded-vit": __version__, "python": platform.python_version()}
    for library in ("numpy", "scipy", "torch", "onnxruntime"):
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def case_digest(volume: Volume, truth: LabelMap) -> str:
    """The SHA-256 of a case's stored numbers, its grid and its mask, whatever file they came in."""
    digest = hashlib.sha256()
    for array, affine in ((volume.array, volume.affine), (truth.array[None], truth.affine)):
        digest.update(f"{array.dtype.str}{array.shape}{np.round(affine, 4).tolist()}".encode())
        for index in range(array.shape[1]):
            digest.update(np.ascontiguousarray(array[:, index]).tobytes())
    return digest.hexdigest()
