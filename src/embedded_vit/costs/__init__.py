"""What a network or an artifact costs: latency, multiply-accumulates, memory, size."""
