"""The subprocess of one worker: JSON lines in, JSON lines out, until its parent is gone.

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

from phinas.experiment.executors.interface import run_job
from phinas.experiment.manifest import version


def main() -> None:
    requests, replies = (
        os.fdopen(os.dup(0), encoding="utf-8"),
        os.fdopen(os.dup(1), "w", encoding="utf-8"),
    )
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    messages: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read_messages, args=(requests, messages), daemon=True).start()
    _send(replies, {"version": version()})

    def ask_driver(step: int, value: float) -> bool:
        _send(replies, {"step": step, "value": value})
        return messages.get()["keep_running"]

    while True:
        job = messages.get()
        if "function" not in job:
            continue  # an answer that came too late for its question
        _send(
            replies,
            run_job(
                job["function"], job["payload"], ask_driver if job["reports_enabled"] else None
            ),
        )


def _read_messages(lines: TextIO, messages: "queue.Queue[dict[str, Any]]") -> None:
    for line in lines:
        messages.put(json.loads(line))
    # The driver is gone, and nobody waits for the job in hand.
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _send(stream: TextIO, data: dict[str, Any]) -> None:
    stream.write(json.dumps(data, allow_nan=False) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
