"""Installation of a built-in model into the package."""

from __future__ import annotations

from pathlib import Path

from embedded_vit.artifact.manifest import read_artifact, sealed
from embedded_vit.builtin import index
from embedded_vit.builtin.index import Facts, Figures
from embedded_vit.errors import OutputError
from embedded_vit.io.atomic import atomic_path, write_text
from factory.table import Training

__all__ = ["install", "is_of_training", "renew_figures"]


def install(name: str, artifact: Path, facts: Facts, training: Training) -> None:
    """Put an artifact into the package under a name of its own, and its facts beside it.

    Args:
        name: Replaces the network's name in the manifest, and so in the files that `predict` writes.
        artifact: The exported file.
        facts: The facts that the manifest does not hold.
        training: Gives the spacing if the manifest has none.

    Raises:
        OutputError: All models together would be larger than a package may be.
    """
    content, manifest = read_artifact(artifact)
    preprocessing = manifest.preprocessing.model_copy(update={"context_mm": training.context_mm})
    changes = {
        "name": name,
        "preprocessing": preprocessing,
        "spacing_range": manifest.spacing_range or training.spacing_range,
    }
    content = sealed(content, manifest.model_copy(update=changes))
    text = _text_of(facts)
    others = [path for path in index.FOLDER.iterdir() if path.is_file() and path.stem != name]
    total_bytes = sum(path.stat().st_size for path in others) + len(content) + len(text)
    if total_bytes > index.MAXIMUM_BYTES:
        raise OutputError(
            f"{name}: the built-in models would take {total_bytes / 1e6:.2f} MB with it, "
            f"{index.MAXIMUM_BYTES / 1e6:g} MB at most are allowed; compress it, or remove another"
        )
    with atomic_path(index.artifact_path(name), overwrite=True) as temporary:
        temporary.write_bytes(content)
    write_text(index.facts_path(name), text, overwrite=True)


def is_of_training(name: str, training: str) -> bool:
    """Return whether the package has a model of this name whose last training was this one."""
    if name not in index.builtin_names():
        return False
    return index.builtin_model(name).facts.training.stages[-1].name == training


def renew_figures(name: str, figures: tuple[Figures, ...]) -> None:
    """Replace the figures of a built-in model; its weights stay."""
    facts = index.builtin_model(name).facts.model_copy(update={"figures": figures})
    write_text(index.facts_path(name), _text_of(facts), overwrite=True)


def _text_of(facts: Facts) -> str:
    return facts.model_dump_json(indent=1) + "\n"
