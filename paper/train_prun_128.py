"""The published pruning command at 128 pixels; README.md says what it means here."""

from published import parse, pruning_parser, run


def main() -> None:
    """Read the flags, then do it."""
    arguments = parse(pruning_parser())
    from commands import prune  # PyTorch takes seconds to import, a mistake in a flag need not wait for it

    prune(arguments)


if __name__ == "__main__":
    run(main)
