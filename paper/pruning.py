"""The one implementation behind train_prun_{224,128,64}.py: `--module` names the network."""

from published import parse, pruning_parser, run


def main() -> None:
    """Run the published pruning command."""
    run(_command)


def _command() -> None:
    arguments = parse(pruning_parser())
    from commands import prune  # PyTorch takes seconds to import; a mistake in a flag need not wait for it

    prune(arguments)
