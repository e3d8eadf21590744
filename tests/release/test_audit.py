"""`make audit`: weaknesses are told, and where nobody could be asked that is not taken for good news."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

AUDIT = Path(__file__).resolve().parents[2] / "release" / "audit.py"
OFFLINE = """
import sys
print("Traceback", "requests.exceptions.ConnectionError: Name or service not known", sep="\\n", file=sys.stderr)
sys.exit(1)
"""


def audit(folder: Path, program: str) -> subprocess.CompletedProcess:
    """Run the audit with a stand-in for pip-audit."""
    stand_in = folder / "pip-audit"
    stand_in.write_text(f"#!{sys.executable}\n{program}")
    stand_in.chmod(0o755)
    return subprocess.run([sys.executable, AUDIT, stand_in], capture_output=True, text=True, check=False)


def answering(*packages: dict) -> str:
    return f"import sys; print({json.dumps(json.dumps({'dependencies': packages}))}); sys.exit(1)"


def test_where_no_data_base_is_reached_one_line_says_so(tmp_path: Path) -> None:
    done = audit(tmp_path, OFFLINE)
    assert done.returncode == 3
    assert len(done.stdout.splitlines()) == 1
    assert done.stdout.startswith("audit: no data base of advisories could be asked (pypi: requests.exceptions.Connect")
    assert "osv: requests" in done.stdout
    assert done.stderr == ""


def test_a_package_that_nobody_knows_is_not_good_news(tmp_path: Path) -> None:
    unknown = {"name": "one", "skip_reason": "Dependency not found on PyPI"}
    assert audit(tmp_path, answering(unknown)).returncode == 3
    done = audit(tmp_path, answering(unknown, {"name": "two", "version": "1.0", "vulns": []}))
    assert done.returncode == 0
    assert "one: not checked: Dependency not found on PyPI" in done.stdout


def test_a_weakness_is_told_with_the_version_that_mends_it(tmp_path: Path) -> None:
    weak = {"name": "two", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1", "2.0"]}]}
    done = audit(tmp_path, answering(weak))
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "two 1.0: CVE-1; mended in: 1.1, 2.0"
    assert "packages: 1, known weaknesses: 1 (pypi)" in done.stdout
