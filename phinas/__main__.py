"""`python -m phinas` is `phinas`."""

from phinas.cli import main

if __name__ == "__main__":
    main()
