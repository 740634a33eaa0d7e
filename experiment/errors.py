"""Exceptions of phinas and their exit codes on the command line.

PhinasError
├── NoResultError     1   a result is missing, for example because no training succeeded
├── InputError        2   the command line, the configuration or the data is wrong
├── InUseError        3   another process uses the run or fit directory
├── StorageError      4   the trial storage is unreachable, corrupt or of another version
└── DiskError         5   the disk is full, or a path is not writable

SignalInterrupt     130   SIGINT (143: SIGTERM); all results so far are saved

`phinas.space` does not import this module. Its SpecError and YamlError are ValueErrors, and the
command line exits with 2 for them. An error in phinas itself has exit code 70.
"""


class PhinasError(Exception):
    """Base class of the errors that phinas expects.

    The message is one line that says what is wrong, why, and what to do.
    """

    exit_code = 70


class NoResultError(PhinasError):
    """A result is missing, for example because no training succeeded."""

    exit_code = 1


class InputError(PhinasError):
    """The command line, the configuration or the data is wrong."""

    exit_code = 2


class InUseError(PhinasError):
    """Another process uses the run or fit directory."""

    exit_code = 3


class StorageError(PhinasError):
    """The trial storage is unreachable, corrupt or of another version."""

    exit_code = 4


class DiskError(PhinasError):
    """The disk is full, or a path is not writable."""

    exit_code = 5


class SignalInterrupt(BaseException):
    """A signal that ends the driver process.

    Like KeyboardInterrupt it is not an Exception, so that `except Exception` in a library, such as
    in SQLAlchemy's connection pool, does not catch it.

    Attributes:
        exit_code: 128 plus the number of the signal.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted")
        self.exit_code = 128 + signal_number
