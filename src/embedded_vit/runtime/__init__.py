"""What runs on the device: numpy and an inference engine, never PyTorch."""
