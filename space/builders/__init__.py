"""Networks that a user's function builds: `package.module:build` or `path/to/file.py:build`."""
