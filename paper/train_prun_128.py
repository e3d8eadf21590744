"""The published pruning command at 128 pixels; README.md says what it means here."""

from pruning import main

if __name__ == "__main__":
    main()
