"""The audit of a data set before training: copies, damaged files, groups and irregular images."""
