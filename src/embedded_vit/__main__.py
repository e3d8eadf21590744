"""Runs the command line as `python -m embedded_vit`, which torchrun needs."""

from embedded_vit.cli import main

main()
