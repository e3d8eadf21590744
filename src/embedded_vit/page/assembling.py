"""Puts a model file, its contract and its card into the template that `web/` is built into."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import lzma
import zipfile
from pathlib import Path

from embedded_vit.about import RESEARCH_USE_ONLY, __version__
from embedded_vit.artifact.manifest import Manifest, read_artifact
from embedded_vit.builtin.index import Facts, builtin_models
from embedded_vit.errors import ConfigError, OutputError
from embedded_vit.io.atomic import refuse_existing, write_text
from embedded_vit.io.nifti.write import DESCRIPTION

__all__ = ["MOST_BYTES", "check_page", "write_page"]

TEMPLATE = Path(__file__).parent / "template.zip"  # made by web/build_page.py when the package is built
PAGE = "index.html"
SUFFIXES = (".html", ".htm")
MOST_BYTES = 10_000_000  # of a page with a built-in model; larger ones are written, and told


def check_page(output: Path, *, overwrite: bool = False) -> None:
    """Refuse a page that cannot be written, before any work is done.

    Args:
        output: The page to write.
        overwrite: Whether a file may be there already.

    Raises:
        ConfigError: The package was installed without the page's template.
        OutputError: The name is not that of a page, or a file is there.
    """
    if not TEMPLATE.is_file():
        raise ConfigError(
            "pages cannot be made: no npm was found when embedded-vit was installed; install Node 20 and npm, "
            "then install embedded-vit again"
        )
    if not output.name.lower().endswith(SUFFIXES):
        raise OutputError(f"{output}: a page is written as HTML; choose a name that ends in .html")
    if not overwrite:
        refuse_existing(output)


def write_page(model: Path, output: Path, *, overwrite: bool = False) -> int:
    """Write a page that segments scans with a model, in any current browser, from the disk and without a network.

    Args:
        model: The model file.
        output: The page to write, `.html`.
        overwrite: Whether a file may be there already.

    Returns:
        The size of the page in bytes.

    Raises:
        FileFormatError: The model file cannot be read or is damaged.
        ConfigError: As `check_page`, or the template is damaged.
        OutputError: As `check_page`, or the page cannot be written.
    """
    check_page(output, overwrite=overwrite)
    content, manifest = read_artifact(model)
    parts = _parts()
    page = parts.pop(PAGE).decode()
    texts = {name: _packed(part) for name, part in parts.items()}
    for name, text in {**texts, "facts.json": _facts(content, manifest), "model.onnx": _packed(content)}.items():
        before, found, after = page.partition(f"<!--{name}-->")
        if not found:
            raise ConfigError(f"{TEMPLATE}: no place for {name}; install embedded-vit again")
        page = before + text + after
    write_text(output, page, overwrite=overwrite)
    return len(page.encode())


def _parts() -> dict[str, bytes]:
    """Return what the page consists of, by name: its HTML, scripts and WebAssembly."""
    try:
        with zipfile.ZipFile(TEMPLATE) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise ConfigError(f"{TEMPLATE} is damaged ({error}); install embedded-vit again") from error


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, compresslevel=9, mtime=0)).decode()


def _facts(content: bytes, manifest: Manifest) -> str:
    """Return what the page knows of the model, as JSON that cannot end the element that it stands in."""
    facts = {
        "name": manifest.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "version": __version__,
        "use": RESEARCH_USE_ONLY,
        "description": DESCRIPTION,
        "contract": manifest.contract.model_dump(mode="json"),
        "is_int8": manifest.is_int8,
        "validation_dice": (manifest.metrics or {}).get("dice"),
        "card": _card(_facts_of_builtin(manifest)),
    }
    return json.dumps(facts, ensure_ascii=True).replace("<", "\\u003c").replace(">", "\\u003e")


def _facts_of_builtin(manifest: Manifest) -> Facts | None:
    """Return the measured figures of a built-in model, whose graph the file holds."""
    return next(
        (model.facts for model in builtin_models() if model.manifest.graph_sha256 == manifest.graph_sha256), None
    )


def _card(facts: Facts | None) -> dict[str, object] | None:
    if facts is None:
        return None
    return {
        "summary": facts.summary,
        "figures": [figures.model_dump(mode="json") for figures in facts.figures],
        "limits": list(facts.limits),
        "licence": facts.source.licence,
        "licence_address": facts.source.licence_address,
        "source": facts.source.name,
        "attribution": facts.source.attribution,
    }
