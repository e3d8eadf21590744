"""The published pruning command at 224 pixels; README.md says what it means here."""

from pruning import main

if __name__ == "__main__":
    main()
