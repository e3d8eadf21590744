"""Metrics, protocols and the report: how well a model segments, measured so that it can be compared."""
