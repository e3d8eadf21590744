"""The settings of a node: what it is told, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedded_vit.errors import ConfigError
from embedded_vit.node.settings import Caller, Destination, NodeSettings, default_folder

ARCHIVE = Destination.read("ORTHANC@127.0.0.1:4242")


def parse(**values: object) -> NodeSettings:
    return NodeSettings.parse({"send_to": ARCHIVE} | values, source="the test")


def test_a_destination_is_read_from_one_word() -> None:
    assert (ARCHIVE.ae_title, ARCHIVE.host, ARCHIVE.port) == ("ORTHANC", "127.0.0.1", 4242)
    assert Destination.read("PACS@[::1]:104").host == "::1"


@pytest.mark.parametrize("text", ["ORTHANC", "ORTHANC@host", "@host:1", "A@:1", "A@h:x", "A\\B@h:1", "A" * 17 + "@h:1"])
def test_other_destinations_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--send-to"):
        Destination.read(text)


def test_a_port_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match="port"):
        Destination.read("A@host:70000")


def test_without_a_list_only_this_computer_may_send() -> None:
    settings = parse()
    assert settings.may_send("ANYBODY", "127.0.0.1")
    assert settings.may_send("ANYBODY", "::1")
    assert settings.may_send("ANYBODY", "::ffff:127.0.0.1")
    assert not settings.may_connect("10.1.2.3")
    with pytest.raises(ConfigError, match=r"--host 0\.0\.0\.0 without --allow: anybody in the network"):
        parse(host="0.0.0.0")


def test_a_list_holds_pairs_of_title_and_address() -> None:
    callers = tuple(Caller.read(text) for text in ("CT1@10.1.2.3", "CT2@10.9.0.0/16", "CT3@localhost"))
    settings = parse(host="0.0.0.0", allowed=callers)
    assert settings.may_send("CT1", "10.1.2.3")
    assert settings.may_send("CT1 ", "::ffff:10.1.2.3")
    assert settings.may_send("CT2", "10.9.77.1")
    assert settings.may_send("CT3", "127.0.0.1")
    assert settings.may_connect("10.9.0.1")
    assert not settings.may_send("CT2", "10.1.2.3")
    assert not settings.may_send("CT1", "127.0.0.1")
    assert not settings.may_connect("10.8.0.1")


def test_a_caller_without_an_address_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--allow 'CT1': expected AET@HOST"):
        Caller.read("CT1")
    with pytest.raises(ConfigError, match=r"no address is known of no\.such\.host\.invalid"):
        Caller.read("CT1@no.such.host.invalid")


def test_tls_to_the_archive_needs_the_files() -> None:
    with pytest.raises(ConfigError, match="--send-tls without --tls"):
        parse(send_with_tls=True)


def test_each_title_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_folder("A/../B") == tmp_path / "embedded-vit" / "node-A____B"
