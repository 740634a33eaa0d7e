"""Command-line options, generated from the configuration schema.

The schema (`phinas.experiment.schema`) says what a key means and which values are legal. Here it is
only listed which keys have an option (`groups`), and how text becomes a value.
"""
