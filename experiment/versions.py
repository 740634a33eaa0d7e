"""The versions of phinas and of the libraries that it uses, as installed."""

import importlib.metadata


def version() -> str:
    """The version of phinas."""
    return importlib.metadata.version("phinas")


def installed_version(name: str) -> str | None:
    """The version of an installed distribution; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
