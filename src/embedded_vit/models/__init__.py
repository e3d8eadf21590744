"""The networks and the readers of published checkpoints."""
