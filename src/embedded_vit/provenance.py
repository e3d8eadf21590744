"""Where figures come from: the machine, the versions, and the digest of a case."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from pydantic import Field

from embedded_vit.about import __version__
from embedded_vit.config import Config
from embedded_vit.volume import LabelMap, Volume

__all__ = [
    "Machine",
    "available_cores",
    "case_digest",
    "describe_machine",
    "governor",
    "processor_flags",
    "processor_name",
    "this_machine",
    "versions",
]

SYSTEM_ROOT = Path("/")

# Instructions that decide how fast a network runs: x86 first, then 64-bit ARM.
FLAGS_THAT_MATTER = (
    *("sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"),
    *("avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimdhp", "asimddp", "asimdfhm", "i8mm", "bf16", "sve", "sve2", "svei8mm", "svebf16", "sme"),
)


class Machine(Config):
    """The machine that figures were measured on."""

    processor: str
    architecture: str
    system: str
    cores: int = Field(description="cores that the process may use")
    flags: tuple[str, ...] = Field(description="instruction sets of the processor that matter for a network")
    governor: str | None = Field(description="frequency governor of the processor; None where the system has none")


def this_machine(root: Path = SYSTEM_ROOT) -> Machine:
    """Describe this machine in fields.

    Args:
        root: Where `proc` and `sys` lie.
    """
    return Machine(
        processor=processor_name(),
        architecture=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
        cores=available_cores(),
        flags=processor_flags(root),
        governor=governor(root),
    )


def describe_machine(device: str = "cpu") -> str:
    """Describe this machine in one line: processor, architecture, cores, system, and the GPU if that is the device."""
    described = f"{processor_name()} ({platform.machine()}, {available_cores()} cores), {platform.system()}"
    if device.startswith("cuda"):
        import torch

        described += f", {torch.cuda.get_device_name(device)}"
    return described


def available_cores() -> int:
    """Return how many cores this process may run on, which a container or `taskset` may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """Return the processor's model name as Linux gives it, or what Python knows elsewhere."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def processor_flags(root: Path = SYSTEM_ROOT) -> tuple[str, ...]:
    """Return those of `FLAGS_THAT_MATTER` that /proc/cpuinfo lists; none where there is no such file."""
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    found: set[str] = set()
    for line in lines:
        key, _, values = line.partition(":")
        if key.strip() in ("flags", "Features"):
            found.update(values.split())
    return tuple(flag for flag in FLAGS_THAT_MATTER if flag in found)


def governor(root: Path = SYSTEM_ROOT) -> str | None:
    """Return the frequency governors of all cores, for example "performance"; None where the system has none."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    try:
        return ", ".join(sorted({file.read_text(encoding="ascii").strip() for file in files})) or None
    except OSError:
        return None


def versions() -> dict[str, str]:
    """Return the versions of this package, of Python, and of the installed libraries that decide a figure."""
    found = {"embedded-vit": __version__, "python": platform.python_version()}
    for library in ("numpy", "scipy", "torch", "onnxruntime"):
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def case_digest(volume: Volume, truth: LabelMap) -> str:
    """Return the SHA-256 of a case's stored numbers, its grid and its mask, whatever file they came in."""
    digest = hashlib.sha256()
    for array, affine in ((volume.array, volume.affine), (truth.array[None], truth.affine)):
        digest.update(f"{array.dtype.str}{array.shape}{np.round(affine, 4).tolist()}".encode())
        for index in range(array.shape[1]):
            digest.update(np.ascontiguousarray(array[:, index]).tobytes())
    return digest.hexdigest()
