"""Learning rates and averaged weights."""

from __future__ import annotations

import pytest
import torch

from embedded_vit.errors import ConfigError
from embedded_vit.training.flat_parameters import FlatParameters
from embedded_vit.training.schedule import kept_share, learning_rate, make_optimizer, update_average
from embedded_vit.training.settings import TrainingConfig


def test_paper_scales_its_rate_with_the_batch_and_lets_it_fall_polynomially():
    config = TrainingConfig.for_recipe("paper", batch_size=12)
    assert config.learning_rate == pytest.approx(0.025)
    assert learning_rate(0, 100, config) == pytest.approx(0.025)
    assert learning_rate(50, 100, config) == pytest.approx(0.025 * 0.5**0.9)
    assert learning_rate(99, 100, config) == pytest.approx(0.025 * 0.01**0.9)


def test_modern_warms_up_and_ends_near_zero():
    config = TrainingConfig.for_recipe("modern")
    rates = [learning_rate(step, 1000, config) for step in range(1000)]
    peak = rates.index(max(rates))
    assert rates[0] < 0.05 * config.learning_rate
    assert peak == pytest.approx(50, abs=1)
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 1e-4 * config.learning_rate


def test_optimizers_are_the_recipes():
    parameters = FlatParameters(torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3)))
    paper = make_optimizer(parameters, TrainingConfig.for_recipe("paper"))
    assert isinstance(paper, torch.optim.SGD)
    assert (paper.defaults["momentum"], paper.defaults["weight_decay"]) == (0.9, 1e-4)
    modern = make_optimizer(parameters, TrainingConfig.for_recipe("modern"))
    decays = {id(each): group["weight_decay"] for group in modern.param_groups for each in group["params"]}
    assert decays[id(parameters.vectors)] == 0.0 < decays[id(parameters.matrices)]


def constant_network(value: float) -> torch.nn.Module:
    network = torch.nn.BatchNorm1d(2)
    for tensor in (*network.parameters(), network.running_mean):
        torch.nn.init.constant_(tensor, value)
    return network


def test_average_follows_slowly_and_more_quickly_at_first():
    average = constant_network(0)
    averaged, one, zero = (FlatParameters(each) for each in (average, constant_network(1), constant_network(0)))
    update_average(averaged, one, kept=kept_share(0.99, step=0))
    assert average.weight[0].item() == pytest.approx(0.9)
    update_average(averaged, zero, kept=kept_share(0.5, step=10_000))
    assert average.weight[0].item() == pytest.approx(0.45)


def test_statistics_of_a_batch_norm_are_copied():
    average = constant_network(0)
    update_average(FlatParameters(average), FlatParameters(constant_network(1)), kept=kept_share(0.99, step=5))
    assert average.running_mean.tolist() == [1, 1]


def test_settings_out_of_range_are_refused_by_name():
    with pytest.raises(ConfigError, match="learning_rate"):
        TrainingConfig.for_recipe("modern", learning_rate=-1.0)
