"""`embedded-vit page`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from embedded_vit.cli.options import Flag, OutputAlias
from embedded_vit.cli.showing import show, tell

__all__ = ["command", "make_page"]


def command(
    model: str,
    /,
    *,
    output: Annotated[Path, OutputAlias],
    overwrite: Flag = False,
) -> None:
    """Write one HTML file that segments scans in a browser: no server, no installation, nothing leaves the computer.

    Args:
        model: Built-in model, or model file (.onnx).
        output: Page to write (.html).
        overwrite: Replace the file if it exists.
    """
    from embedded_vit.builtin import model_path

    make_page(model_path(model), output, overwrite=overwrite)


def make_page(model: Path, output: Path, *, overwrite: bool) -> None:
    """Write the page of a model file and say so."""
    from embedded_vit.page.assembling import MOST_BYTES, write_page

    size = write_page(model, output, overwrite=overwrite)
    show(f"{output}: {size / 1e6:.1f} MB; open it in a current browser, it needs no connection")
    if size > MOST_BYTES:
        tell(f"{output}: more than {MOST_BYTES / 1e6:.0f} MB, as the model is large; mail servers may refuse it")
