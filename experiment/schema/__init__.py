"""The configuration schema: each key is one field with its type, meaning, unit and default."""
