"""The selection of the baseline from the trials of a search."""
