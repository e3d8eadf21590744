"""Folding is exact, and says what it saves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from embedded_vit.compression.fold import Fold
from embedded_vit.compression.step import Workshop
from embedded_vit.errors import ContractError
from embedded_vit.models import published_form
from embedded_vit.training.checkpoint import load_checkpoint


@pytest.fixture
def workshop(synapse_folder, trained_run, tmp_path) -> Workshop:
    return Workshop(synapse_folder, load_checkpoint(trained_run), tmp_path / "work", threads=1)


def test_folding_changes_nothing_and_saves_operations(workshop):
    product = Fold().apply(workshop.original, workshop, workshop.folder, frozenset())
    assert product.checkpoint is workshop.original
    assert product.graph is None
    assert product.facts["macs"] < product.facts["published_macs"]
    assert 0 < product.facts["largest_deviation"] < 1e-3
    assert product.facts["label_disagreement"] == 0


def test_a_folded_form_that_deviates_is_refused(workshop, monkeypatch):
    monkeypatch.setattr(
        published_form.PublishedForm,
        "_channel_attention",
        lambda self, name, tokens: torch.zeros_like(tokens),
    )
    with pytest.raises(ContractError, match="published"):
        Fold().apply(workshop.original, workshop, workshop.folder, frozenset())


def test_a_network_that_lost_channels_says_why_it_is_not_compared(workshop):
    config = workshop.original.config
    network = config.network.model_copy(update={"kept_channels": {"encoder.0.blocks.0.feed_forward1": 40}})
    before = replace(workshop.original, config=config.model_copy(update={"network": network}))
    facts = Fold().apply(before, workshop, workshop.folder, frozenset()).facts
    assert "channels removed" in facts["not_compared"]
    assert facts["largest_deviation"] is None
    assert facts["published_macs"] is None
