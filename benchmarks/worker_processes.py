"""Processes that are made ready first and then do something each time that they are told to, all at
once.
"""

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
    """One process for each member, in which `prepare(*member)` gave what acts on an order; all of
    them are ready.
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
            with suppress(OSError):  # it died, which was raised where it was waited for
                pipe.send(None)
        for process in processes:
            process.join()


def wait_for_all(pipes: Sequence[Connection]) -> None:
    """Raises EOFError where one has died; its own error stands on stderr."""
    for pipe in pipes:
        pipe.recv()


def run_together(pipes: Sequence[Connection], messages: Sequence[Any]) -> None:
    """Give each its order, and wait for all."""
    for pipe, message in zip(pipes, messages, strict=True):
        pipe.send(message)
    wait_for_all(pipes)
