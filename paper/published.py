"""What the published commands share: the names of networks, the flags, and where the data lies."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from embedded_vit.config import nearest_name
from embedded_vit.datasets.description import DESCRIPTION_FILE
from embedded_vit.datasets.synapse import LIST_FOLDERS, TEST_FOLDER, TRAIN_FOLDER
from embedded_vit.errors import ConfigError, DataSetError, EmbeddedVitError

# "grouping" is the depthwise mixing convolution, our default; without it the convolution is dense.
NETWORKS = {
    f"networks.Embedded-ViT_{size}{theirs}.EmbeddedViT": f"embedded-vit-{size}{ours}"
    for size in (224, 128, 64)
    for theirs, ours in (("_grouping", ""), ("", "-dense"))
} | {"networks.DAEFormer.DAEFormer": "dae-former-224"}

DEFAULT_LISTS = "./lists/lists_Synapse"
UNREAD = "the published scripts parse it and never read it"
LABELS_DECIDE = "the data set's labels decide: 9 classes in Synapse"
# Flags that have no effect here, and why. A command prints the line of each flag that it is given.
IGNORED_IN_BOTH = {
    "--num_classes": LABELS_DECIDE,
    "--max_iterations": UNREAD,
    "--deterministic": "it set cuDNN; on the CPU equal commands always give equal results",
    "--resume": f"{UNREAD}; `embedded-vit train --resume` goes on with a run",
    "--accumulation-steps": UNREAD,
    "--tag": UNREAD,
}
IGNORED_IN_TRAINING = {
    "--num_workers": "slices are prepared once and read from a memory map, without workers",
    "--eval_interval": "test cases never select weights here: they are scored once, after the last epoch",
    "--model_name": "it was the prefix of file names; a run folder has file names of its own",
    "--z_spacing": "it was written to the headers of masks that nothing reads",
}
IGNORED_IN_TESTING = {
    "--batch_size": UNREAD,
    "--base_lr": UNREAD,
    "--seed": "nothing is random in testing",
    "--test_save_dir": "the published script overwrites it with OUTPUT_DIR/predictions",
}
IGNORED_SWITCHES = ("--zip", "--use-checkpoint", "--eval", "--throughput")
IGNORED_CHOICES = {"--cache-mode": ("no", "full", "part"), "--amp-opt-level": ("O0", "O1", "O2")}


class PublishedParser(argparse.ArgumentParser):
    """An argument parser that answers a mistake with one line and exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Print the mistake and exit."""
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def training_parser(*, batch_size: int) -> PublishedParser:
    """Make the parser of train.py and train_half.py; train_prun_*.py take the same flags.

    Args:
        batch_size: The default batch size; the scripts differ in nothing else.
    """
    parser = PublishedParser(description="The published command; README.md says what it means here.")
    parser.add_argument("--root_path", type=Path, default=Path("data/Synapse/train_npz"), help="slices to train on")
    parser.add_argument("--test_path", type=Path, default=Path("data/Synapse/test_vol_h5"), help="volumes to test on")
    parser.add_argument("--module", type=network_name, required=True, help=f"one of {', '.join(NETWORKS)}")
    parser.add_argument("--input_model", type=Path, help="weights to begin with: a published .pth file or a run folder")
    parser.add_argument("--max_epochs", type=int, default=400)
    parser.add_argument("--batch_size", type=int, default=batch_size, help="slices per step and GPU")
    parser.add_argument("--n_gpu", type=int, default=1, help="multiplies the batch size")
    parser.add_argument("--base_lr", type=float, default=0.05, help="learning rate at a batch size of 24")
    parser.add_argument("--seed", type=int, default=1234)
    _add_common_flags(parser, IGNORED_IN_TRAINING)
    return parser


def pruning_parser() -> PublishedParser:
    """Make the parser of train_prun_*.py: the flags of training, and `--recipe` for the file that they read."""
    parser = training_parser(batch_size=24)
    parser.add_argument("--recipe", type=Path, default=Path(__file__).with_name("prun.yaml"), help="a SparseML recipe")
    return parser


def testing_parser() -> PublishedParser:
    """Make the parser of test.py and test_half.py."""
    parser = PublishedParser(description="The published command; README.md says what it means here.")
    parser.add_argument("--volume_path", type=Path, default=Path("data/Synapse"), help="folder that holds test_vol_h5")
    parser.add_argument("--max_epochs", type=int, default=400, help="names the weights: synapse_epoch_(this - 1).pth")
    parser.add_argument("--is_savenii", action="store_true", help="write masks and scans to OUTPUT_DIR/predictions")
    parser.add_argument("--opts", nargs="+", default=argparse.SUPPRESS, help="no effect")
    _add_common_flags(parser, IGNORED_IN_TESTING)
    return parser


def _add_common_flags(parser: PublishedParser, ignored: dict[str, str]) -> None:
    parser.add_argument("--dataset", choices=["Synapse"], default="Synapse")
    parser.add_argument("--list_dir", type=Path, help=f"holds train.txt and test_vol.txt; by default {DEFAULT_LISTS}")
    parser.add_argument("--output_dir", type=Path, default=Path("./model_out"), help="runs and weights")
    parser.add_argument("--img_size", type=int, help="the network's own by default, and no other")
    for flag in {**IGNORED_IN_BOTH, **ignored}:
        parser.add_argument(flag, default=argparse.SUPPRESS, help="no effect")
    for flag in IGNORED_SWITCHES:
        parser.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help="no effect")
    for flag, choices in IGNORED_CHOICES.items():
        parser.add_argument(flag, choices=choices, default=argparse.SUPPRESS, help="no effect")


def parse(parser: PublishedParser, words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the flags of a command; print a line for each flag that has no effect here."""
    arguments = parser.parse_args(words)
    reasons = {**IGNORED_IN_BOTH, **(IGNORED_IN_TRAINING if "module" in arguments else IGNORED_IN_TESTING)}
    for flag in (*reasons, *IGNORED_SWITCHES, *IGNORED_CHOICES, "--opts"):
        if flag.removeprefix("--").replace("-", "_") in arguments:
            say(f"{flag} has no effect: {reasons.get(flag, UNREAD)}")
    return arguments


def network_name(module: str) -> str:
    """Return our name of a published network.

    Raises:
        ConfigError: The module is not among the published ones.
    """
    if module not in NETWORKS:
        raise ConfigError(
            f"--module {module}: not a published network{nearest_name(module, NETWORKS)}; "
            "train your own with `embedded-vit train --model package.module:Class`"
        )
    return NETWORKS[module]


def check_image_size(given: int | None, own: int, name: str) -> None:
    """Refuse an image size that is not the network's own, as the published networks do.

    Raises:
        ConfigError: The sizes differ.
    """
    if given not in (None, own):
        raise ConfigError(f"--img_size {given}: {name} takes {own} x {own} pixels; give --img_size {own}")


def learning_rate(base: float, batch_size: int) -> float:
    """Scale the learning rate by the published rule: with the batch size, where that is a multiple of 5."""
    return base * batch_size / 24 if batch_size % 5 == 0 else base


def link_data(folder: Path, *, train: Path | None, test: Path, lists: Path | None) -> None:
    """Make a data set in TransUNet's layout from links to its parts.

    Args:
        folder: The folder to make.
        train, test: Folders of slices and of volumes; without `train` the data set has volumes only.
        lists: `--list_dir`; None takes the published default, or the lists beside the data, where they exist.

    Raises:
        DataSetError: A folder is missing.
    """
    parts = {TEST_FOLDER: test} if train is None else {TRAIN_FOLDER: train, TEST_FOLDER: test}
    for name, path in parts.items():
        if not path.is_dir():
            raise DataSetError(f"{path}: no such folder; expected {name} of the Synapse data set")
    if lists is not None and not lists.is_dir():
        raise DataSetError(f"{lists}: no such folder (--list_dir)")
    beside = next(iter(parts.values())).parent
    list_folders = [lists] if lists else [Path(DEFAULT_LISTS), *(beside / name for name in LIST_FOLDERS)]
    for name in ["test_vol.txt"] if train is None else ["train.txt", "test_vol.txt"]:
        found = [list_folder / name for list_folder in list_folders if (list_folder / name).is_file()]
        parts |= {f"lists/{name}": path for path in found[:1]}
    if (beside / DESCRIPTION_FILE).is_file():
        parts[DESCRIPTION_FILE] = beside / DESCRIPTION_FILE
    (folder / "lists").mkdir(parents=True)
    for name, path in parts.items():
        (folder / name).symlink_to(path.resolve())


def fresh_folder(path: Path) -> Path:
    """Return `path`, or the first of `path`-2, `path`-3, ... that does not exist: nothing is overwritten."""
    number, fresh = 1, path
    while fresh.exists():
        number += 1
        fresh = path.with_name(f"{path.name}-{number}")
    return fresh


@contextmanager
def removed_without(file_name: str, folder: Path) -> Iterator[None]:
    """Remove the folder at the end if the file was not written: the folder holds links only."""
    try:
        yield
    finally:
        if not (folder / file_name).exists():
            shutil.rmtree(folder, ignore_errors=True)


def say(line: str) -> None:
    """Print a line on stderr, beside the results."""
    print(f"{Path(sys.argv[0]).name}: {line}", file=sys.stderr)


def run(command: Callable[[], None]) -> None:
    """Run a command; a deliberate error becomes one line and its exit status."""
    try:
        command()
    except EmbeddedVitError as error:
        say(str(error))
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
