"""Checkpoint -> bundle, in float32 or 8-bit integers, with tuned thresholds."""
