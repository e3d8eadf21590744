"""The steps of a compression, one file each, and what they share."""
