"""Processes that are prepared first and then run a function at the same time, once per message."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any


def _serve(
    pipe: Connection, prepare: Callable[..., Callable[[Any], object]], arguments: tuple[Any, ...]
) -> None:
    function = prepare(*arguments)
    pipe.send(True)
    while (message := pipe.recv()) is not None:
        function(message)
        pipe.send(True)


@contextmanager
def start_workers(
    prepare: Callable[..., Callable[[Any], object]], worker_arguments: Sequence[tuple[Any, ...]]
) -> Iterator[list[Connection]]:
    """Start one process for each element of `worker_arguments`, and wait until all are prepared.

    Args:
        prepare: Called once in each process. It returns the function that the process calls with
            each message.
        worker_arguments: The arguments of `prepare` in each process.

    Yields:
        A pipe to each process, for `run_together`. The processes end with the context.
    """
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for arguments in worker_arguments:
        parent_end, child_end = context.Pipe()
        processes.append(context.Process(target=_serve, args=(child_end, prepare, arguments)))
        processes[-1].start()
        child_end.close()
        pipes.append(parent_end)
    try:
        wait_for_all(pipes)
        yield pipes
    finally:
        for pipe in pipes:
            with suppress(OSError):  # the process has crashed, and wait_for_all has raised that
                pipe.send(None)
        for process in processes:
            process.join()


def wait_for_all(pipes: Sequence[Connection]) -> None:
    """Wait for an answer of each process.

    Raises:
        EOFError: A process has crashed. Its own error is on stderr.
    """
    for pipe in pipes:
        pipe.recv()


def run_together(pipes: Sequence[Connection], messages: Sequence[Any]) -> None:
    """Send each process its message, and wait until all have finished."""
    for pipe, message in zip(pipes, messages, strict=True):
        pipe.send(message)
    wait_for_all(pipes)
