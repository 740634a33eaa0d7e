"""The sections of a configuration: every option is one field with one line of meaning."""
