"""Terminal output of the commands: progress, text tables and JSON."""
