"""What lies in an environment's site-packages."""

from __future__ import annotations

from pathlib import Path

__all__ = ["print_installed_size"]

LARGEST = 8


def print_installed_size(environment: Path) -> None:
    """Print the bytes of all that is installed in an environment, pip left out, and of its largest parts.

    Args:
        environment: The folder that `python -m venv` made.
    """
    [packages] = environment.glob("lib/python3*/site-packages")
    sizes = {
        entry.name: sum(path.stat().st_size for path in [entry, *entry.rglob("*")] if path.is_file())
        for entry in packages.iterdir()
        if not entry.name.startswith(("pip", "setuptools"))
    }
    print("\n| installed in site-packages | MB |\n|---|---|")
    print(f"| everything | {sum(sizes.values()) / 1e6:.1f} |")
    for name in sorted(sizes, key=lambda name: -sizes[name])[:LARGEST]:
        print(f"| {name} | {sizes[name] / 1e6:.1f} |")
