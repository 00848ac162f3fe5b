"""CPU and memory of pods and containers: what they ask for, what they get, in-place resize."""
