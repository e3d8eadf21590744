"""Size of an environment's site-packages, by package."""

from __future__ import annotations

from pathlib import Path

__all__ = ["print_installed_size"]

LARGEST = 8


def print_installed_size(environment: Path) -> None:
    """Print the size of all packages in an environment, without pip, and of the largest ones.

    Args:
        environment: The folder that `python -m venv` made.
    """
    [packages] = environment.glob("lib/python3*/site-packages")
    entries = [entry for entry in packages.iterdir() if not entry.name.startswith(("pip", "setuptools"))]
    sizes = {entry.name: _bytes_below(entry, "*") for entry in entries}
    bytecode = sum(_bytes_below(entry, "*.pyc") for entry in entries)
    print("\n| installed in site-packages | MB |\n|---|---|")
    print(f"| everything | {sum(sizes.values()) / 1e6:.1f} |")
    print(f"| bytecode, which `pip install --no-compile` leaves out | {bytecode / 1e6:.1f} |")
    for name in sorted(sizes, key=lambda name: -sizes[name])[:LARGEST]:
        print(f"| {name} | {sizes[name] / 1e6:.1f} |")


def _bytes_below(entry: Path, pattern: str) -> int:
    """Return the bytes of all files whose name matches: of the entry itself, or of files below it at any depth."""
    paths = [entry, *entry.rglob("*")]
    return sum(path.stat().st_size for path in paths if path.is_file() and path.match(pattern))
