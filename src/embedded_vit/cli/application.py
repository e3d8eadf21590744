"""The program `embedded-vit`: its verbs, grouped by who needs them, and how an error is reported."""

from __future__ import annotations

import io
import logging
import os
import sys

from cyclopts import App, CycloptsError, Group

from embedded_vit.about import RESEARCH_USE_ONLY, __version__
from embedded_vit.cli.showing import tell
from embedded_vit.errors import EmbeddedVitError, missing_extra

__all__ = ["application", "main"]

# In the order of the help. Each verb is the function `command` of the module of its name.
GROUPS = {
    "I have scans": ("predict", "page", "node", "models"),
    "I have a device": ("benchmark", "info"),
    "I have labelled data": ("data", "plan", "build", "train", "search", "evaluate", "compress", "export", "report"),
    "I have no data yet": ("phantom",),
}
EXTRA_OF_LIBRARY = {"optuna": "search", "h5py": "h5", "pynetdicom": "node"}  # of all others: train


def application(*, with_summaries: bool = True) -> App:
    """Assemble the verbs.

    Args:
        with_summaries: Whether the help can list what each verb does. That imports the modules of all verbs, 10 ms
            that a single verb need not wait for.
    """
    app = App(
        name="embedded-vit",
        help=f"Segments medical images with small networks, on computers without a GPU.\n\n{RESEARCH_USE_ONLY}",
        version=__version__,
        help_format="markdown",
    )
    for number, (reader, verbs) in enumerate(GROUPS.items()):
        group = Group(reader, sort_key=number)
        for place, verb in enumerate(verbs):
            app.command(f"embedded_vit.cli.{verb}:command", name=verb, group=group, sort_key=place)
            if with_summaries:
                _ = app[verb]  # imports it
    app["--help"].group = app["--version"].group = Group("General", sort_key=len(GROUPS))
    return app


def main() -> None:
    """Run the command line; a deliberate error becomes one line and its exit status."""
    try:
        for stream in (sys.stdout, sys.stderr):  # names of files and structures may hold what no terminal shows
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        # On a slow computer it says that it looks for fonts, in front of an error that must be one line.
        logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
        words = sys.argv[1:]
        verb_is_given = bool(words) and not words[0].startswith("-")
        application(with_summaries=not verb_is_given)(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        message = " ".join(str(error).split())
        tell(f"embedded-vit: {message} (see --help)")
        sys.exit(2)
    except ModuleNotFoundError as error:
        library = error.name or "embedded_vit"
        if library.startswith("embedded_vit"):
            raise
        tell(f"embedded-vit: {missing_extra(library, EXTRA_OF_LIBRARY.get(library, 'train'))}")
        sys.exit(2)
    except ImportError as error:  # of a library that is there: it is damaged, or too large for the memory
        if (error.name or "").startswith("embedded_vit"):
            raise
        reason = " ".join(str(error).split())
        tell(
            f"embedded-vit: a library cannot be loaded: {reason}; allow more memory (`ulimit -v`), or install it again"
        )
        sys.exit(2)
    except EmbeddedVitError as error:
        tell(f"embedded-vit: {error}")
        sys.exit(error.exit_status)
    except MemoryError:
        tell("embedded-vit: out of memory; close other programs or allow more (`ulimit -v`)")
        sys.exit(2)
    except BrokenPipeError:  # whoever reads our output has enough of it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # of a place that may not be read or written, or is a file where a folder is wanted
        place = f"{error.filename}: " if error.filename else ""
        tell(f"embedded-vit: {place}{error.strerror or error}; give another path")
        sys.exit(2)
    except KeyboardInterrupt:
        tell("embedded-vit: interrupted")
        sys.exit(130)
