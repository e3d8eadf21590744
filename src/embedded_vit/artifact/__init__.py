"""A checkpoint becomes one file that a device can trust."""
