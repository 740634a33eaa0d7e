"""Trained networks outside their training: exported files and predictions."""
