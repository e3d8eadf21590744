"""The published training command, in half precision; README.md says what it means here."""

from published import parse, run, training_parser


def main() -> None:
    """Read the flags, then run the command."""
    arguments = parse(training_parser(batch_size=24))
    from commands import train  # PyTorch takes seconds to import; a mistake in a flag need not wait for it

    train(arguments, precision="fp16")


if __name__ == "__main__":
    run(main)
