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
    act = prepare(*arguments)
    pipe.send(True)
    while (order := pipe.recv()) is not None:
        act(order)
        pipe.send(True)


@contextmanager
def crew(
    prepare: Callable[..., Callable[[Any], object]], members: Sequence[tuple[Any, ...]]
) -> Iterator[list[Connection]]:
    """One process for each member, in which `prepare(*member)` gave what acts on an order; all of
    them are ready.
    """
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for arguments in members:
        here, there = context.Pipe()
        processes.append(context.Process(target=_serve, args=(there, prepare, arguments)))
        processes[-1].start()
        there.close()
        pipes.append(here)
    try:
        wait(pipes)
        yield pipes
    finally:
        for pipe in pipes:
            with suppress(OSError):  # it died, which was raised where it was waited for
                pipe.send(None)
        for process in processes:
            process.join()


def wait(pipes: Sequence[Connection]) -> None:
    """Raises EOFError where one has died; its own error stands on stderr."""
    for pipe in pipes:
        pipe.recv()


def together(pipes: Sequence[Connection], orders: Sequence[Any]) -> None:
    """Give each its order, and wait for all."""
    for pipe, order in zip(pipes, orders, strict=True):
        pipe.send(order)
    wait(pipes)
