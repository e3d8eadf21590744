"""The journal of a training: what cannot be written is one line, whoever writes it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from embedded_vit.errors import OutputError
from embedded_vit.training.checkpoint import EpochMetrics
from embedded_vit.training.journal import Journal

EPOCH = EpochMetrics(
    epoch=1,
    loss=1.0,
    validation_dice=None,
    learning_rate=1e-3,
    images_per_second=1.0,
    loading_fraction=0.0,
    seconds=1.0,
)


@pytest.mark.parametrize("call", ["flush", "close"])
def test_a_tensorboard_log_that_cannot_be_written_is_one_line(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    journal = Journal(tmp_path, first_epoch=1)
    monkeypatch.setattr(journal.tensorboard, call, full)
    write = journal.close if call == "close" else lambda: journal.record([EPOCH], last=False)
    with pytest.raises(OutputError, match="tensorboard: cannot write: the disk is full"):
        write()
