"""The published training command, in float32; README.md says what it means here."""

from published import parse, run, training_parser


def main() -> None:
    """Read the flags, then run the command."""
    arguments = parse(training_parser(batch_size=10))
    from commands import train  # PyTorch takes seconds to import; a mistake in a flag need not wait for it

    train(arguments, precision="fp32")


if __name__ == "__main__":
    run(main)
