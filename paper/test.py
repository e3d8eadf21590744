"""The published test command, in float32; README.md says what it means here."""

from published import parse, run, testing_parser


def main() -> None:
    """Read the flags, then run the command."""
    arguments = parse(testing_parser())
    from commands import test  # PyTorch takes seconds to import; a mistake in a flag need not wait for it

    test(arguments, precision="fp32")


if __name__ == "__main__":
    run(main)
