"""The state of a search: its record on disk, and the views of the strategy and the pruner on it."""
