"""A scan in, a mask out."""
