"""What the published commands share: their network names, their flags, and how they find their data."""

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
# Flags without a meaning here, and why. Those that are given are answered with this line.
IGNORED_IN_BOTH = {
    "--num_classes": LABELS_DECIDE,
    "--max_iterations": UNREAD,
    "--deterministic": "it set cuDNN; on the CPU equal commands always give equal results",
    "--resume": f"{UNREAD}; `embedded-vit train --resume` goes on with a run",
    "--accumulation-steps": UNREAD,
    "--tag": UNREAD,
}
IGNORED_IN_TRAINING = {
    "--num_workers": "slices are prepared once and read through a memory map, without workers",
    "--eval_interval": "test cases never select weights here: they are scored once, after the last epoch",
    "--model_name": "it began the names of files; a run folder has names of its own",
    "--z_spacing": "it went into the headers of masks that training wrote and nothing read",
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
    """Answers a mistake with one line and exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Print the mistake and leave."""
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def training_parser(*, batch_size: int) -> PublishedParser:
    """The flags of train.py and train_half.py, which train_prun_*.py take too.

    Args:
        batch_size: The default, in which alone they differ.
    """
    parser = PublishedParser(description="The published command; README.md says what it means here.")
    parser.add_argument("--root_path", type=Path, default=Path("data/Synapse/train_npz"), help="slices to train on")
    parser.add_argument("--test_path", type=Path, default=Path("data/Synapse/test_vol_h5"), help="volumes to test on")
    parser.add_argument("--module", type=network_name, required=True, help=f"one of {', '.join(NETWORKS)}")
    parser.add_argument("--input_model", type=Path, help="weights to begin with: a published .pth file or a run folder")
    parser.add_argument("--max_epochs", type=int, default=400)
    parser.add_argument("--batch_size", type=int, default=batch_size, help="slices a step and GPU")
    parser.add_argument("--n_gpu", type=int, default=1, help="multiplies the batch size")
    parser.add_argument("--base_lr", type=float, default=0.05, help="learning rate at a batch of 24")
    parser.add_argument("--seed", type=int, default=1234)
    _add_common_flags(parser, IGNORED_IN_TRAINING)
    return parser


def pruning_parser() -> PublishedParser:
    """The flags of train_prun_*.py, and one of ours for the file that they read from where they run."""
    parser = training_parser(batch_size=24)
    parser.add_argument("--recipe", type=Path, default=Path(__file__).with_name("prun.yaml"), help="a SparseML recipe")
    return parser


def testing_parser() -> PublishedParser:
    """The flags of test.py and test_half.py."""
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
    """Read a command's flags, and say a line for each that has no effect here."""
    arguments = parser.parse_args(words)
    reasons = {**IGNORED_IN_BOTH, **(IGNORED_IN_TRAINING if "module" in arguments else IGNORED_IN_TESTING)}
    for flag in (*reasons, *IGNORED_SWITCHES, *IGNORED_CHOICES, "--opts"):
        if flag.removeprefix("--").replace("-", "_") in arguments:
            say(f"{flag} has no effect: {reasons.get(flag, UNREAD)}")
    return arguments


def network_name(module: str) -> str:
    """Our name of a published network.

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
    """Refuse a size that is not the network's, as the published networks do.

    Raises:
        ConfigError: They differ.
    """
    if given not in (None, own):
        raise ConfigError(f"--img_size {given}: {name} takes {own} x {own} pixels; give --img_size {own}")


def learning_rate(base: float, batch_size: int) -> float:
    """The published rule: in proportion to the batch, when that is a multiple of 5."""
    return base * batch_size / 24 if batch_size % 5 == 0 else base


def link_data(folder: Path, *, train: Path | None, test: Path, lists: Path | None) -> None:
    """Put a data set in TransUNet's layout together from links, wherever its parts are.

    Args:
        folder: To make.
        train, test: Folders of slices and of volumes; without `train`, only the volumes take part.
        lists: `--list_dir`; when None, its published default or what lies beside the data, if that is there.

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
    """`path`, or the first of `path`-2, `path`-3, ... that is not there yet: nothing is ever written over."""
    number, fresh = 1, path
    while fresh.exists():
        number += 1
        fresh = path.with_name(f"{path.name}-{number}")
    return fresh


@contextmanager
def removed_without(file_name: str, folder: Path) -> Iterator[None]:
    """Take a folder away again in which no such file came to be: it holds links only."""
    try:
        yield
    finally:
        if not (folder / file_name).exists():
            shutil.rmtree(folder, ignore_errors=True)


def say(line: str) -> None:
    """Tell the user something beside the results."""
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
