"""The command line: one module for each command, named like it. They parse, call and print."""
