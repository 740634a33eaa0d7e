"""What can go wrong, and the exit code that the command line gives it.

PhinasError
├── NoResultError     1   it ran to its end, but nothing met the goal
├── InputError        2   the call, the configuration or the data is wrong
├── InUseError        3   another process holds the run directory
├── StorageError      4   the record of trials is unreachable, corrupt or of another version
└── DiskError         5   the disk is full, or a path may not be written

SignalInterrupt     130   SIGINT (143: SIGTERM); everything so far is kept. Not an Exception, like
                          KeyboardInterrupt: a library's `except Exception` (SQLAlchemy's pool
                          has one) must not swallow it

(`space.SpecError` and `space.YamlError` are ValueErrors of a package that knows nothing of this
one; they exit with 2.)
"""


class PhinasError(Exception):
    """Says what is wrong, where, and what to do about it, in one line."""

    exit_code = 70


class NoResultError(PhinasError):
    exit_code = 1


class InputError(PhinasError):
    exit_code = 2


class InUseError(PhinasError):
    exit_code = 3


class StorageError(PhinasError):
    exit_code = 4


class DiskError(PhinasError):
    exit_code = 5


class SignalInterrupt(BaseException):
    """Raised by a signal in the driver; `exit_code` is 128 plus the signal's number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted")
        self.exit_code = 128 + signal_number
