"""Trained models that come with the package: NAME.onnx, the artifact, and NAME.json, what is known of it besides.

`benchmarks/builtin_models.py` makes both files; NOTICE.md says whose data the networks learned from.
"""
