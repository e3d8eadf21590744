"""The steps of a compression, one file each, with what they work with beside them."""
