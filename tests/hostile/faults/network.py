"""Every verb under strace: no connection, except to the addresses that a node or a search was given."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import postgres_fixtures
from build_fixtures import write_tiny_plan
from node_fixtures import Archive, RunningNode, bright_images, send, wait_until

from faults import pages
from faults.row import Outcome
from faults.small_scans import model, write

CALL = re.compile(r"(connect|sendto|sendmsg)\(.*sa_family=AF_INET6?, .*")
PLACE = re.compile(r"htons\((\d+)\).*?\"(?:::ffff:)?([\d.:a-f]+)\"")  # an IPv4 address may be written as IPv6
STRACE = ("strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o")
Address = tuple[str, int]


@dataclass(frozen=True)
class Call:
    """A verb that is traced.

    Attributes:
        name: In messages.
        run: Takes the words that strace needs before the program; returns what went wrong.
        allowed: The addresses that it was given.
        here: Whether its processes may talk to each other, on this computer's own address.
    """

    name: str
    run: Callable[[list[str]], str]
    allowed: frozenset[Address] = frozenset()
    here: bool = False


def command(verb: str, *words: object) -> Call:
    """Return a verb that ends by itself."""

    def run(strace: list[str]) -> str:
        line = [*strace, sys.executable, "-m", "embedded_vit", verb.split()[0], *map(str, words)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else f"exit status {done.returncode}: {done.stderr[-200:]!r}"

    return Call(verb, run)


def node_receives_and_sends(artifact: Path, folder: Path, archive: Archive, strace: list[str]) -> str:
    """Run a node on one study."""
    node = RunningNode(artifact, archive.port, folder / "store", "--quiet", "0.2", before=strace)
    sent = send(node.port, bright_images("1.2.3")) == [0] * 3
    wait_until(lambda: archive.of("1.2.3"))
    return "" if node.stop() == 0 and sent else "it did not take the study"


def verbs(folder: Path, stack: ExitStack) -> Iterator[Call]:
    """Yield each verb with arguments that take little time; later ones use what earlier ones wrote."""
    scan, artifact = write(folder / "scan.nii.gz", 3), model(folder / "model")
    data, run, own, built = folder / "data", folder / "run", folder / "own.onnx", folder / "built"
    tiny = ("--image-size", "32", "--family", "unet", "--widths", "8", "16", "--epochs", "1", "--threads", "1")
    search = ("--data", data, "--budget", "macs=1e3", "--trials", "1", "--image-sizes", "32", "--threads", "1")
    (folder / "compression.yaml").write_text("steps: [{quantize: {precision: fp16}}]\n")
    yield command("predict", artifact, scan, "-o", folder / "mask.nii.gz")
    yield command("predict --workers", artifact, folder, "-o", folder / "masks", "--workers", "2")
    if find_spec("ray"):
        ray = command("predict --ray", artifact, folder, "-o", folder / "masks-of-ray", "--ray")
        yield Call(ray.name, ray.run, here=True)
    yield command("models")
    yield command("info", artifact)
    yield command("phantom", data, "--layout", "decathlon", "--cases", "4", "--size", "64", "--slices", "8")
    yield command("data", data)
    yield command("plan", "--data", data, "--output", folder / "plan")
    yield command("train", "--data", data, "--output", run, *tiny, "--validation-cases", "1")
    yield command("export", run, "--output", own)
    yield command("evaluate", own, "--data", data, "--output", folder / "evaluation")
    yield command("benchmark", artifact)
    yield command("compress", run, "--plan", folder / "compression.yaml", "--output", folder / "small")
    yield command("report", folder / "small", "--output", folder / "report.html")
    write_tiny_plan(data, built, coarse_epochs=0, epochs=1)
    yield command("build", "--data", data, "--output", built, "--threads", "1")
    yield command("search", *search, "--output", folder / "search")
    if not pages.lacks():
        yield command("page", artifact, "--output", folder / "page.html")
    archive = Archive()
    stack.callback(archive.stop)
    run_node = partial(node_receives_and_sends, artifact, folder, archive)
    yield Call("node", run_node, frozenset({("127.0.0.1", archive.port)}))
    yield command("node status", "status", "--store", folder / "store")
    if not postgres_fixtures.lacks():
        server = stack.enter_context(postgres_fixtures.running_postgres(tcp=True))
        one = command("search --storage", *search, "--output", folder / "shared", "--storage", server.new_database())
        yield Call(one.name, one.run, frozenset({("127.0.0.1", server.port)}))


def network(count: int, folder: Path) -> Outcome:
    """Trace as many verbs as are asked for."""
    outcome = Outcome()
    with ExitStack() as stack:
        for number, call in enumerate(verbs(folder, stack)):
            if number >= count:
                break
            trace = folder / f"trace{number}"
            wrong = call.run([*STRACE, str(trace)])
            lines = [line for line in trace.read_text(errors="replace").splitlines() if CALL.search(line)]
            others = [line for line in lines if not allowed(line, call)]
            if others:
                wrong = f"{len(others)} calls, the first {others[0][:120]}"
            if call.allowed and not lines:
                wrong = "it connects to nobody"
            outcome.count(good=not wrong, message=f"{call.name}: {wrong}")
    return outcome


def allowed(line: str, call: Call) -> bool:
    """Whether it goes to one of the addresses that the verb was given, or nowhere.

    The system sorts addresses by sockets that it connects to port 0; nothing is sent by them.
    """
    found = PLACE.search(line)
    if found is None:
        return False
    port, address = found.groups()
    return port == "0" or (address, int(port)) in call.allowed or (call.here and address == "127.0.0.1")
