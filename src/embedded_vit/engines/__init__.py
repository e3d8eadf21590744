"""Inference: the one door to every engine that computes an artifact's logits."""
