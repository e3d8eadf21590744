"""pip, as tests of the installed package run it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


def pip(environment: Path, *arguments: object) -> str:
    """Run the pip of an environment and return what it prints; skip the test where no package index is reached."""
    command = [environment / "bin" / "pip", *map(str, arguments), "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    return done.stdout
