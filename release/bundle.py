"""One folder with everything that a computer without internet needs: wheels, an install script, licences, digests.

    python release/bundle.py --wheel dist/embedded_vit-0.1.0-py3-none-any.whl --machine aarch64 --extras dicom,pictures

pip downloads the wheels; it needs an index here, and none where the bundle is installed. With `--check` nothing is
downloaded: pip only says whether there is a wheel of every package for that machine.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from locked import LOCK

from embedded_vit.about import RESEARCH_USE_ONLY

__all__ = ["MACHINES", "make_bundle"]

MACHINES = ("x86_64", "aarch64")
LOCKED_PYTHON = "3.11"  # of requirements.lock; other versions take what fits them
OLDEST_GLIBC, NEWEST_GLIBC = 17, 35  # 2.35: Debian 12, Ubuntu 22.04; only OpenVINO for ARM asks for so much
INSTALL = """#!/bin/sh
# Installs Embedded-ViT on a computer without internet: ./install.sh [FOLDER]   (default: ~/embedded-vit)
# {research}
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${{1:-"$HOME/embedded-vit"}}
python=${{PYTHON:-python{version}}}
command -v "$python" >/dev/null || {{ echo "no $python here; install it first, or give PYTHON=..." >&2; exit 2; }}
found=$("$python" -c 'import platform, sys; print("%d.%d %s" % (*sys.version_info[:2], platform.machine()))')
if [ "$found" != "{version} {machine}" ]; then
  echo "this bundle is for Python {version} on {machine}, and $python is $found; make a bundle for it" >&2
  exit 2
fi
(cd "$here" && sha256sum --check --quiet SHA256SUMS) || {{ echo "the bundle is damaged; copy it again" >&2; exit 2; }}
"$python" -m venv "$target"
"$target/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-index --find-links "$here/wheels" \\
  '{package}'
echo "installed; try: $target/bin/embedded-vit models"
"""


def make_bundle(wheel: Path, output: Path, *, machine: str, python: str, extras: str) -> None:
    """Make a bundle; what is at its place is replaced.

    Args:
        wheel: Of this package.
        output: The folder.
        machine: One of `MACHINES`.
        python: Version of Python there, for example 3.11.
        extras: With commas between them; may be empty.

    Raises:
        SystemExit: pip finds no wheel of a package for that machine.
    """
    shutil.rmtree(output, ignore_errors=True)
    (output / "wheels").mkdir(parents=True)
    arguments = ["download", "--dest", str(output / "wheels"), *_for_machine(machine, python)]
    _pip([*arguments, _with_extras(str(wheel), extras)])
    script = output / "install.sh"
    package = _with_extras("embedded-vit", extras)
    script.write_text(
        INSTALL.format(research=RESEARCH_USE_ONLY, version=python, machine=machine, package=package), encoding="utf-8"
    )
    script.chmod(0o755)
    files = sorted(path for path in output.rglob("*") if path.is_file())
    digests = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(output)}\n" for path in files]
    (output / "SHA256SUMS").write_text("".join(digests), encoding="utf-8")


def check_wheels(wheel: Path, *, machine: str, python: str, extras: str) -> None:
    """Ask pip whether every package has a wheel for a machine; arguments and errors as `make_bundle`."""
    target = os.path.join(os.path.dirname(os.path.abspath(wheel)), "nowhere")
    arguments = ["install", "--dry-run", "--ignore-installed", "--target", target, *_for_machine(machine, python)]
    _pip([*arguments, _with_extras(str(wheel), extras)])


def _for_machine(machine: str, python: str) -> list[str]:
    versions = range(NEWEST_GLIBC, OLDEST_GLIBC - 1, -1)
    platforms = [f"manylinux_2_{version}_{machine}" for version in versions] + [f"manylinux2014_{machine}"]
    options = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for each in platforms:
        options += ["--platform", each]
    return options + (["--constraint", str(LOCK)] if python == LOCKED_PYTHON else [])


def _with_extras(package: str, extras: str) -> str:
    return f"{package}[{extras}]" if extras else package


def _pip(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check", *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if not line.startswith(("WARNING", "  "))]
        sys.exit("\n".join(line for line in lines if line)[-2000:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--machine", choices=MACHINES, default=platform.machine())
    parser.add_argument("--python", default=LOCKED_PYTHON)
    parser.add_argument("--extras", default="dicom,pictures")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--check", action="store_true", help="only ask whether there are wheels")
    arguments = parser.parse_args()
    wanted = {"machine": arguments.machine, "python": arguments.python, "extras": arguments.extras}
    if arguments.check:
        check_wheels(arguments.wheel, **wanted)
        print(f"every package has a wheel for Python {arguments.python} on {arguments.machine}")
        return
    output = arguments.output or Path("build") / f"bundle-{arguments.machine}"
    make_bundle(arguments.wheel, output, **wanted)
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    print(f"{output}: {size / 1e6:.0f} MB; copy it to the computer and run {output.name}/install.sh there")


if __name__ == "__main__":
    main()
