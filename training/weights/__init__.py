"""Weights of other trainings: files, the Hugging Face Hub, and what they need."""
