"""The program `embedded-vit`: its verbs, and how it reports an error."""

from __future__ import annotations

import os
import sys

from cyclopts import App, CycloptsError

from embedded_vit.about import RESEARCH_USE_ONLY, __version__
from embedded_vit.errors import EmbeddedVitError, missing_extra

__all__ = ["application", "main"]

VERBS = {
    "data": "Check a data set: its cases and everything that is wrong.",
    "phantom": "Generate a labelled data set of patients who do not exist.",
    "train": "Train a network on a labelled data set.",
    "search": "Find the network that segments best within a budget.",
    "evaluate": "Score a trained network on labelled cases, with a report.",
    "compress": "Make a trained network smaller and faster by a recipe.",
    "export": "Turn a trained network into one file.",
    "report": "Compare runs and compression steps on one page.",
    "predict": "Segment a scan with that file, or with a built-in model.",
    "models": "List the models that come with the package, or show the card of one.",
    "benchmark": "Measure how fast and how small that file is on this computer.",
    "info": "Show what a network is and what it costs.",
}


def application() -> App:
    """Assemble the verbs; each is imported when it is called, so that a device needs no PyTorch to predict."""
    app = App(
        name="embedded-vit",
        help=f"Small segmentation transformers for computers without a GPU.\n\n{RESEARCH_USE_ONLY}",
        version=__version__,
        help_format="plaintext",
    )
    for verb, summary in VERBS.items():
        app.command(f"embedded_vit.cli.{verb}:command", name=verb, help=summary)
    return app


def main() -> None:
    """Run the command line; a deliberate error becomes one line and its exit status."""
    try:
        application()(exit_on_error=False, print_error=False)
    except CycloptsError as error:
        message = " ".join(str(error).split())
        print(f"embedded-vit: {message} (see --help)", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if (error.name or "embedded_vit").startswith("embedded_vit"):
            raise
        extra = {"optuna": "search", "h5py": "h5"}.get(error.name or "", "train")
        print(f"embedded-vit: {missing_extra(str(error.name), extra)}", file=sys.stderr)
        sys.exit(2)
    except EmbeddedVitError as error:
        print(f"embedded-vit: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except MemoryError:
        print("embedded-vit: out of memory; close other programs or allow more (`ulimit -v`)", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # whoever read our output has enough of it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("embedded-vit: interrupted", file=sys.stderr)
        sys.exit(130)
