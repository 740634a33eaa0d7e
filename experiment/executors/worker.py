"""The subprocess of one slot: JSON lines in, JSON lines out, until its parent is gone.

In come jobs and, while one is under way, the answers to its reports; out go reports and results.

The real standard input and output are kept for the protocol: whatever a job prints goes to standard
error, and it has nothing to read. A thread reads, so that the process (with any that a job has
started) ends at once when the driver does, also in the middle of a job.
"""

import json
import os
import queue
import signal
import threading
from typing import Any, TextIO

from phinas.experiment.executors.interface import attempt
from phinas.experiment.manifest import version


def main() -> None:
    lines, answers = (
        os.fdopen(os.dup(0), encoding="utf-8"),
        os.fdopen(os.dup(1), "w", encoding="utf-8"),
    )
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    arrived: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(lines, arrived), daemon=True).start()
    _answer(answers, {"hello": version()})

    def ask_driver(step: int, value: float) -> bool:
        _answer(answers, {"step": step, "value": value})
        return arrived.get()["go_on"]

    while True:
        job = arrived.get()
        if "function" not in job:
            continue  # an answer that came too late for its question
        _answer(
            answers,
            attempt(job["function"], job["payload"], ask_driver if job["listened"] else None),
        )


def _read(lines: TextIO, arrived: "queue.Queue[dict[str, Any]]") -> None:
    for line in lines:
        arrived.put(json.loads(line))
    # The driver is gone, and nobody waits for the job in hand.
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _answer(stream: TextIO, data: dict[str, Any]) -> None:
    stream.write(json.dumps(data, allow_nan=False) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
