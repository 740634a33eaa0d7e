"""The files of a run and of a fit: a pydantic model for each, which alone reads and writes it."""
