"""The sentences of the report and the terminal, by topic."""
