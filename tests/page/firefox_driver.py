"""Firefox, driven by Marionette, its own protocol, so that nothing has to be installed besides it."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS = 120
PREFERENCES = {
    "marionette.port": 0,  # one that is free; Firefox writes it into the profile
    "security.sandbox.content.level": 0,  # where tests run as root, in a container
    "datareporting.policy.dataSubmissionEnabled": False,
    "browser.shell.checkDefaultBrowser": False,
}


class Firefox:
    """A running browser; commands are those of WebDriver."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self._sent = 0
        self._receive()  # its greeting

    def command(self, name: str, **parameters: Any) -> Any:
        """Send a command and return its value."""
        self._sent += 1
        text = json.dumps([0, self._sent, f"WebDriver:{name}", parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(text), text))
        _, number, error, answer = self._receive()
        assert number == self._sent
        assert error is None, error
        return answer.get("value", answer)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page, which may return a promise."""
        return self.command("ExecuteScript", script=script, args=arguments, newSandbox=False)

    def wait_for(self, selector: str) -> str:
        """Wait for an element and return its text."""
        script = (
            "const [selector, patience] = arguments;"
            "return new Promise((done, failed) => { const look = () => {"
            " const found = document.querySelector(selector); if (found) done(found.innerText); };"
            " new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true });"
            " setTimeout(() => failed(new Error(selector)), patience); look(); });"
        )
        return str(self.run(script, selector, 1000 * SECONDS))

    def give_files(self, selector: str, paths: list[Path]) -> None:
        """Choose files as a user does."""
        found = self.command("FindElement", using="css selector", value=selector)
        self.command("ElementSendKeys", id=next(iter(found.values())), text="\n".join(map(str, paths)))

    def _receive(self) -> Any:
        length = b""
        while (byte := self._socket.recv(1)) not in (b":", b""):
            length += byte
        content = b""
        while len(content) < int(length):
            content += self._socket.recv(int(length) - len(content))
        return json.loads(content)


@contextmanager
def running_firefox(program: str, profile: Path) -> Iterator[Firefox]:
    """Start Firefox without a window and stop it at the end."""
    profile.mkdir()
    lines = [f'user_pref("{name}", {json.dumps(value)});' for name, value in PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines), encoding="utf-8")
    words = [program, "--headless", "--marionette", "--no-remote", "--profile", str(profile), "about:blank"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port, until = profile / "MarionetteActivePort", time.monotonic() + SECONDS
        while not (port.is_file() and port.read_text().strip()):
            assert process.poll() is None, "Firefox stopped"
            assert time.monotonic() < until, "Firefox did not start"
            time.sleep(0.05)
        browser = Firefox(int(port.read_text()))
        browser.command("NewSession", capabilities={})
        browser.command("SetTimeouts", script=1000 * SECONDS, pageLoad=1000 * SECONDS)
        yield browser
    finally:
        process.terminate()
        process.wait(SECONDS)
