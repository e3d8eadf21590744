"""Networks with random weights, and run folders as training leaves them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import Split
from embedded_vit.labels import SYNAPSE_LABELS
from embedded_vit.models.registry import NetworkConfig, build_network
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.checkpoint import EpochMetrics, TrainingRecord, save_checkpoint
from embedded_vit.training.settings import RunConfig, TrainingConfig


def made_network(config: NetworkConfig) -> nn.Module:
    """Make a network with random weights that decide: logits of about one, as after training."""
    torch.manual_seed(0)
    network = build_network(config).eval()
    for name, statistic in network.named_buffers():  # of batch norms, which begin at exactly 0 and 1
        if name.endswith("running_mean"):  # on both sides of 0, so that no ReLU silences all that follows
            nn.init.uniform_(statistic, -0.2, 0.2)
        elif name.endswith("running_var"):
            nn.init.uniform_(statistic, 0.2, 0.8)
    for parameter in network.parameters():
        if parameter.ndim == 1:  # norms and biases begin at exactly 1 and 0, which would hide mistakes
            nn.init.normal_(parameter, mean=float(parameter.mean() > 0.5), std=0.1)
    return network


def made_run(
    folder: Path,
    network: NetworkConfig,
    *,
    data_folder: Path | None = None,
    context_slices: int = 1,
    train: tuple[str, ...] = ("case0001",),
    test: tuple[str, ...] = ("case0002",),
) -> Path:
    """Make a run folder as training writes it, with random weights."""
    config = RunConfig(
        network=network,
        preprocessing=Preprocessing.for_modality(
            "CT",
            image_size=network.image_size,
            output_stride=network.output_stride,
            context_slices=context_slices,
        ),
        labels=SYNAPSE_LABELS,
        training=TrainingConfig.for_recipe("paper"),
    )
    epoch = EpochMetrics(
        epoch=1, loss=1, validation_dice=0.25, learning_rate=0.1, images_per_second=1, loading_fraction=0, seconds=1
    )
    record = TrainingRecord(
        data_folder=str(data_folder or folder / "gone"),
        data_fingerprint="f" * 64,
        split=Split(seed=0, train=train, validation=(), test=test),
        epochs=(epoch,),
        selected_epoch=1,
    )
    save_checkpoint(folder, made_network(network).state_dict(), config, record)
    return folder


def untrained_run(folder: Path, network: NetworkConfig, data_folder: Path) -> Path:
    """Make a run folder with initial weights on phantoms in TransUNet's layout: enough to prune and to train it."""
    torch.manual_seed(0)
    config = RunConfig(
        network=network,
        preprocessing=Preprocessing.for_modality("CT", image_size=network.image_size),
        labels=open_data_set(data_folder).labels,
        training=TrainingConfig.for_recipe("modern", batch_size=8),
    )
    split = Split(train=("case0001", "case0002"), validation=("case0003",), test=("case0005",), seed=0)
    record = TrainingRecord(data_folder=str(data_folder), data_fingerprint="0" * 64, split=split)
    save_checkpoint(folder, build_network(network).state_dict(), config, record)
    return folder
