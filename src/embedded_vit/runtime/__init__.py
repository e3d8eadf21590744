"""What runs on the device: numpy and an inference engine, never PyTorch.

ONNX Runtime's Linux builds (1.32 is one) report usage to its maker unless this variable is set before it is imported. A
hospital's computer tells nobody anything, so it is set here, for whatever in this package loads the engine.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
