"""The files of deploy/: what they start exists, and what can be checked without Docker and systemd is."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from embedded_vit.builtin.index import builtin_names
from embedded_vit.cli.application import application
from embedded_vit.node.settings import Caller, Destination

MOST_MB = 450
REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
UNIT = (DEPLOY / "embedded-vit-node.service").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
NODES = {name: service for name, service in COMPOSE["services"].items() if name != "orthanc"}


def check_words(words: list[str]) -> None:
    """Check the words of `embedded-vit node` but for names that only the network knows."""
    console = Console(width=200, file=io.StringIO())
    application().help_print(["node"], console=console)
    shown = console.file.getvalue()
    assert words[0] in builtin_names()
    for option, value in zip(words[1::2], words[2::2], strict=True):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", shown), option
        if option == "--send-to":
            Destination.read(value)
        if option == "--allow" and not value.endswith("@orthanc"):
            Caller.read(value)


def test_the_unit_starts_a_node_as_nobody_in_particular() -> None:
    (command,) = re.findall(r"(?ms)^ExecStart=(.*?[^\\])$", UNIT)
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:2] == ["/opt/embedded-vit/bin/embedded-vit", "node"]
    check_words(words[2:])
    for line in ("User=embedded-vit", "ProtectSystem=strict", "NoNewPrivileges=yes", "Restart=always", "UMask=0077"):
        assert line in UNIT.splitlines()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "embedded-vit-node.service"
    unit.write_text(UNIT.replace("/opt/embedded-vit/bin/embedded-vit", "/bin/true"), encoding="utf-8")
    checked = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("name", NODES)
def test_compose_runs_each_node_with_little(name: str) -> None:
    service = NODES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    check_words(shlex.split(service["command"]))
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_image_runs_as_nobody_in_particular_and_opens_one_port() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    last = text.rpartition("FROM ")[2]
    assert re.findall(r"(?m)^USER (.*)$", last) == ["embedded-vit"]
    assert re.findall(r"(?m)^EXPOSE (.*)$", text) == ["11112"]
    assert "not built here" in text
    told = (DEPLOY / "README.md").read_text(encoding="utf-8")
    assert "no image was built" in told
    (size,) = re.findall(r"a root of (\d+) MB", told)
    assert int(size) <= MOST_MB
