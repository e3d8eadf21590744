"""The published pruning command at 224 pixels; README.md says what it means here."""

from published import prune, run

if __name__ == "__main__":
    run(prune)
