"""Calls of a database server that survive its restart.

A lost connection raises ConnectionLostError in place of SQLAlchemy's errors. Optuna repeats some
calls after those by itself, and would begin a trial twice if only the answer was lost.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine, ExceptionContext, event

from phinas.experiment.errors import StorageError

RECONNECT_SECONDS = 60.0
_FIRST_DELAY_SECONDS, _MAX_DELAY_SECONDS = 0.5, 8.0
# PostgreSQL's codes for a server that is shutting down, crashed or starting.
_RESTART_CODES = ("57P01", "57P02", "57P03")
ResultType = TypeVar("ResultType")


class ConnectionLostError(Exception):
    """The server of a database does not answer."""


def detect_lost_connections(engine: Engine) -> None:
    """Let a lost connection raise ConnectionLostError."""

    def check(context: ExceptionContext) -> None:
        error = context.original_exception
        code = getattr(error, "sqlstate", None) or ""
        is_lost = context.connection is None or context.is_disconnect
        if not context.is_pre_ping and (is_lost or code in _RESTART_CODES or code[:2] == "08"):
            raise ConnectionLostError(str(error).strip().splitlines()[0]) from error

    event.listen(engine, "handle_error", check)


def call_until_connected(function: Callable[[bool], ResultType]) -> ResultType:
    """Call a function that uses a database, and call it again while the connection is lost.

    Args:
        function: Called with whether an earlier call may have taken effect. A server can commit
            and then restart before it answers.

    Raises:
        StorageError: The server did not answer for RECONNECT_SECONDS.
    """
    deadline, delay_seconds, is_repeated = None, _FIRST_DELAY_SECONDS, False
    while True:
        try:
            return function(is_repeated)
        except ConnectionLostError as error:
            now = time.monotonic()
            deadline = deadline or now + RECONNECT_SECONDS
            if now >= deadline:
                raise StorageError(
                    f"the database server did not answer for {RECONNECT_SECONDS:g} s ({error}); "
                    "start it, then `phinas resume`"
                ) from error
        time.sleep(min(delay_seconds, deadline - now))
        delay_seconds, is_repeated = min(2 * delay_seconds, _MAX_DELAY_SECONDS), True
