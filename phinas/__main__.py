"""Entry point of `python -m phinas`, which does the same as `phinas`."""

import sys
from contextlib import suppress
from pathlib import Path

from phinas.cli import main

if __name__ == "__main__":
    # `python -m` puts the current directory first on the path, where a user's folder `ray` or
    # `datasets` would shadow the library. `main` appends it for modules of the user.
    with suppress(FileNotFoundError):  # the current directory may have been removed
        if sys.path and Path(sys.path[0]) == Path.cwd():
            del sys.path[0]
    main()
