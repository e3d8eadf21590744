"""A checkpoint becomes one file, checked against PyTorch."""
