"""What a command shows: progress, text tables, the summary of a run, JSON."""
