"""OpenVINO behind the engine protocol."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from artifact_fixtures import threshold_graph

from embedded_vit.engines import load, open_graph
from embedded_vit.errors import ConfigError, FileFormatError


def test_an_artifact_gives_the_logits_of_onnx_runtime(make_artifact):
    pytest.importorskip("openvino")
    path = make_artifact()
    image = np.random.default_rng(0).uniform(-1, 1, (2, 1, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(load(path, "openvino", threads=1).run(image), load(path).run(image))


FIRST_RUN_IN_TWO_THREADS = """
import sys, threading
import numpy as np
from embedded_vit.engines import load

sys.setswitchinterval(1e-6)
engine = load(sys.argv[1], "openvino", threads=2, streams=2)
together = threading.Barrier(2)
done = []

def run():
    together.wait()
    done.append(engine.run(np.zeros((1, 1, 32, 32), np.float32)))

threads = [threading.Thread(target=run) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(done))
"""


def test_the_first_slices_may_come_in_two_threads_at_once(make_artifact):
    pytest.importorskip("openvino")
    path = make_artifact()
    for _ in range(3):  # without the engine's care two of three waited for ever
        command = [sys.executable, "-c", FIRST_RUN_IN_TWO_THREADS, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.strip() == "2"


def test_what_is_no_graph_is_refused_in_one_line():
    pytest.importorskip("openvino")
    with pytest.raises(FileFormatError, match="OpenVINO cannot load it") as caught:
        open_graph(b"no graph", "openvino", threads=1, source="model.onnx")
    assert "\n" not in str(caught.value)


def test_without_openvino_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigError, match=r"embedded-vit\[openvino\]"):
        open_graph(threshold_graph().SerializeToString(), "openvino")
