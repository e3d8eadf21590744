"""Train the built-in models, test them, and put them into the package: one command reproduces a model.

    python -m factory.builtin_models NAME [NAME ...] --data DATA --output FOLDER [--experiments split all]

`factory/table.py` lists models and trainings. A training has several experiments: `split`, with the data set's own test
patients; `split-1`, `split-2`, ..., the same with another seed; `fold-1` to `fold-K`, in which every patient is a test
patient once; and `all`, in which every patient is a training patient, and whose weights are shipped. A complete run is
read, one that was killed is resumed, and the runs of `factory.gpu_trainings` in FOLDER are taken as they are:

    FOLDER/TRAINING/EXPERIMENT/run/                 the training, which models that differ in compression share
    FOLDER/TRAINING/EXPERIMENT/MODEL/model.onnx     the exported file, compression/ beside it if there was any
    FOLDER/TRAINING/EXPERIMENT/MODEL/evaluation/    the test of that file on the experiment's test patients

When `all` is among the experiments, the model is installed with the figures of all others that were evaluated. With
`--records factory/records` the tests are also kept there, to be committed, and stand for folders that are gone: so the
experiments of one model may run on several machines and days, and `all` need not be the last. The data stay where they
are; prepared slices lie in FOLDER while a training runs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from embedded_vit.config import nearest_name
from embedded_vit.errors import ConfigError, EmbeddedVitError
from factory import table
from factory.experiments import ALL, SPLIT
from factory.folders import ModelFolders
from factory.making import ModelMaker


def main() -> None:
    """Make the models that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m factory.builtin_models",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help=", ".join(table.MODELS))
    parser.add_argument("--data", type=Path, required=True, help="the labelled data set")
    parser.add_argument("--output", type=Path, required=True, help="where trainings and files go")
    parser.add_argument(
        "--experiments", nargs="+", metavar="EXPERIMENT", help=f"{SPLIT}, fold-1, ..., {ALL}; by default every one"
    )
    parser.add_argument("--records", type=Path, metavar="DIR", help="where tests are kept that outlive FOLDER")
    parser.add_argument("--device", default="cpu", help="where to train (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in table.MODELS:
            raise ConfigError(f"no model '{name}' in the table{nearest_name(name, table.MODELS)}")
        folders = ModelFolders(name, arguments.output, arguments.records)
        ModelMaker(folders, arguments.data, arguments.device, arguments.threads).make(arguments.experiments)


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"factory.builtin_models: {error}")
