"""`python -m phinas` is `phinas`."""

import sys
from pathlib import Path

from phinas.cli import main

if __name__ == "__main__":
    # `python -m` puts the current directory first, where a user's own folder `ray` or `datasets`
    # would hide the library. `main` appends it, for a user's own evaluator.
    if sys.path and Path(sys.path[0]) == Path.cwd():
        del sys.path[0]
    main()
