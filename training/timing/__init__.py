"""Measured inference latency, and estimates of training time."""
