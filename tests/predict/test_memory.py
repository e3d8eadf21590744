"""The memory that a scan may take: said by the user, or left by computer, container and limit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedded_vit.errors import ConfigError
from embedded_vit.predict import memory
from embedded_vit.predict.memory import (
    WORKING_BYTES,
    free_bytes,
    limit_matrix_threads,
    parse_bytes,
    resident_bytes,
    room_below,
)

MIB = 2**20


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("400M", 400 * MIB),
        ("1.5G", 1536 * MIB),
        ("1g", 1024 * MIB),
        ("64 MiB", 64 * MIB),
        ("2kB", 2048),
        ("1048576", 2**20),
    ],
)
def test_amounts_are_powers_of_1024(text: str, amount: int) -> None:
    assert parse_bytes(text) == amount


@pytest.mark.parametrize("text", ["", "much", "-4M", "4T", "M", "1e9", "4.M", "0x10"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a number with K, M or G, for example 400M"):
        parse_bytes(text)


def test_a_scan_may_take_what_the_program_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "resident_bytes", lambda: 100 * MIB)
    monkeypatch.setattr(memory, "_free_below_limit", lambda: iter(()))
    assert room_below(400 * MIB) == 300 * MIB - WORKING_BYTES
    with pytest.raises(ConfigError, match=r"120M of memory .* take 132M"):
        room_below(120 * MIB)


@pytest.mark.parametrize(
    ("files", "expected_mib"),
    [
        ({"cgroup": "0::/a/b\n", "a/b/memory.max": "max\n", "a/memory.max": f"{300 * MIB}\n"}, 300),
        ({"cgroup": "0::/\n", "memory.max": f"{500 * MIB}\n"}, 500),
        ({"cgroup": "3:cpu:/\n4:memory:/a\n", "memory/a/memory.limit_in_bytes": f"{200 * MIB}\n"}, 200),
        ({"cgroup": "0::/\n"}, 1000),
        ({}, 1000),
    ],
    ids=["parent", "root", "version 1", "no limit", "no groups"],
)
def test_the_least_of_all_limits_counts(
    files: dict[str, str], expected_mib: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "meminfo").write_text(f"MemTotal: 9999999 kB\nMemAvailable: {1000 * 1024} kB\n")
    monkeypatch.setattr(memory, "PROCESS_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP_FOLDER", tmp_path)
    monkeypatch.setattr(memory, "_free_below_limit", lambda: iter(()))
    assert free_bytes() == expected_mib * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_a_limit_on_address_space_counts() -> None:
    program = (
        "import resource; from embedded_vit.predict.memory import free_bytes, room_below; "
        "resource.setrlimit(resource.RLIMIT_AS, (400 * 2**20, 400 * 2**20)); "
        "print(free_bytes(), room_below(4000 * 2**20))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    free, room = map(float, done.stdout.split())
    assert 0 < free < 400 * MIB
    assert room <= free - WORKING_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_this_process_takes_some_memory() -> None:
    assert 20 * MIB < resident_bytes() < 100_000 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
@pytest.mark.parametrize("threads", [1, 2])
def test_matrix_products_keep_to_their_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    program = (
        "import os; from embedded_vit.predict.memory import limit_matrix_threads; "
        f"limit_matrix_threads({threads}); import numpy; print(len(os.listdir('/proc/self/task')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= threads


def test_the_environment_has_the_last_word_on_matrix_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    limit_matrix_threads(1)
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"
