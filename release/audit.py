"""Known weaknesses of the locked packages, by pip-audit.

    python release/audit.py build/audit-tools/bin/pip-audit [--lock requirements.lock]

asks PyPI's advisories, and where those cannot be reached those of OSV. The exit status is 0 where no weakness is known,
1 where some are (a line each), and 3 where no data base of advisories could be asked: then nothing is known at all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
SERVICES = ("pypi", "osv")
NOTHING_KNOWN, WEAK, NOT_ASKED = 0, 1, 3


def main() -> int:
    """Ask one service after the other; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, help="pip-audit")
    parser.add_argument("--lock", type=Path, default=LOCK)
    arguments = parser.parse_args()
    reasons = []
    for service in SERVICES:
        packages, reason = asked(arguments.program, arguments.lock, service)
        known = [package for package in packages if "vulns" in package]
        if not known:
            reasons.append(f"{service}: {reason}")
            continue
        return told(packages, service)
    print(f"audit: no data base of advisories could be asked ({'; '.join(reasons)}); run it where there is internet")
    return NOT_ASKED


def asked(program: Path, lock: Path, service: str) -> tuple[list[dict[str, Any]], str]:
    """Ask a service about all packages; return what it says of each, and why it says nothing."""
    command = [str(program), "--requirement", str(lock), "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    done = subprocess.run(
        [*command, "--vulnerability-service", service, "--format", "json"], capture_output=True, text=True, check=False
    )
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return [], f"{lines[-1]:.120}" if lines else f"exit status {done.returncode}"
    return packages, next((str(package["skip_reason"]) for package in packages if "skip_reason" in package), "")


def told(packages: list[dict[str, Any]], service: str) -> int:
    """Print what is known; return the exit status."""
    weak = 0
    for package in packages:
        for weakness in package.get("vulns", ()):
            weak += 1
            mended = ", ".join(weakness.get("fix_versions", ())) or "none"
            print(f"{package['name']} {package['version']}: {weakness['id']}; mended in: {mended}")
    for package in packages:
        if "skip_reason" in package:
            print(f"{package['name']}: not checked: {package['skip_reason']}")
    print(f"audit: packages: {len(packages)}, known weaknesses: {weak} ({service})")
    return WEAK if weak else NOTHING_KNOWN


if __name__ == "__main__":
    sys.exit(main())
