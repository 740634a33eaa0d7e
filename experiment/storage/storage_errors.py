"""Conversion of database errors to errors of phinas."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from phinas.experiment.errors import DiskError, InputError, StorageError

# SQLite's primary result codes for problems of the disk, not of the file.
_DISK_ERROR_CODES = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
)


def is_disk_error(error: BaseException) -> bool:
    """Whether SQLite reports that the disk is full, read-only, failing or missing."""
    code = getattr(error, "sqlite_errorcode", None)
    # An extended result code has the primary one in its low byte.
    return code is not None and code & 0xFF in _DISK_ERROR_CODES


@contextmanager
def storage_errors() -> Iterator[None]:
    """Convert the errors of a database. Other errors pass.

    Raises:
        InputError: `run.storage` is not the URL of a database.
        DiskError: The disk is full, read-only or failing.
        StorageError: Any other error of the database.
    """
    try:
        yield
    except ArgumentError as error:
        text = str(error).splitlines()[0]
        raise InputError(
            f"run.storage: is not the URL of a database ({text}); write one such as "
            "postgresql://HOST/NAME"
        ) from error
    except ImportError as error:
        raise StorageError(
            f"the driver of this database is not installed ({error.__cause__ or error}); install "
            "it, or use another run.storage"
        ) from error
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error
        text = str(cause).splitlines()[0]
        if is_disk_error(cause):
            raise DiskError(
                f"the record of trials cannot be written ({text}); free space or correct the "
                "permissions, then `phinas resume`"
            ) from error
        raise StorageError(
            f"the record of trials cannot be used ({text}); check run.storage and that its "
            "database can be reached"
        ) from error
