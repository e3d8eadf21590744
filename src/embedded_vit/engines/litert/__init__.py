"""LiteRT (TensorFlow Lite): an artifact's graph, translated and run."""
