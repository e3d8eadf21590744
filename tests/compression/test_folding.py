"""Folding is exact: the form that runs and the published form give the same logits; the report says what it saves."""

from __future__ import annotations

import pytest
import torch
from network_fixtures import made_run

from embedded_vit.compression.step import StepContext
from embedded_vit.costs.complexity import complexity
from embedded_vit.engines import Agreement, compare, open_network
from embedded_vit.errors import ContractError
from embedded_vit.models import published_form
from embedded_vit.models.published_form import PublishedForm, why_unpublished
from embedded_vit.models.reference_checkpoint import to_reference
from embedded_vit.models.registry import network_config
from embedded_vit.training.checkpoint import load_checkpoint


class PublishedEngine:
    """The published form of a network as an engine."""

    streams = 1

    def __init__(self, network):
        self.form = PublishedForm(to_reference(network, stages=network.stages))

    def run(self, image_bchw):
        with torch.inference_mode():
            return self.form(torch.from_numpy(image_bchw)).numpy()


@pytest.fixture
def agreement(synapse_folder, tmp_path) -> Agreement:
    network = network_config(image_size=32, widths=(16, 32), classes=9)
    run = made_run(tmp_path / "run", network, train=("case0001", "case0002"), test=("case0005",))
    original = load_checkpoint(run)
    images = StepContext(synapse_folder, original, tmp_path / "work", threads=1).probe_images(16)
    network = original.network.float()
    return compare(open_network(network, threads=1), PublishedEngine(network), images)


def test_folding_changes_nothing(agreement):
    agreement.check("the folded form against the published one")
    assert agreement.images == 16
    assert 0 < agreement.max_logit_difference < 1e-3
    assert agreement.label_disagreement == 0


def test_a_folded_form_that_deviates_is_noticed(monkeypatch, request):
    monkeypatch.setattr(
        published_form.PublishedForm,
        "_channel_attention",
        lambda self, name, tokens: torch.zeros_like(tokens),
    )
    with pytest.raises(ContractError, match="published"):
        request.getfixturevalue("agreement").check("the folded form against the published one")


def test_folding_saves_macs():
    costs = complexity(network_config(image_size=32, widths=(16, 32), classes=9))
    assert costs.macs < costs.naive_macs


def test_a_network_that_lost_channels_says_why_it_has_no_published_form():
    config = network_config(image_size=32, widths=(16, 32), classes=9)
    assert why_unpublished(config) == ""
    config = config.model_copy(update={"kept_channels": {"encoder.0.blocks.0.feed_forward1": 40}})
    assert "channels were removed" in why_unpublished(config)
    assert complexity(config).naive_macs is None
