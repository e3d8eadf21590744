"""LiteRT (TensorFlow Lite): an engine, and the translation of a model file's graph into its format."""
