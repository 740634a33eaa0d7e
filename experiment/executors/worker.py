"""The subprocess of one slot: JSON lines in, JSON lines out, until its parent is gone.

The real standard input and output are kept for the protocol: whatever a job prints goes to standard error, and it has
nothing to read. A thread reads the jobs, so that the process (with any that a job has started) ends at once when the
driver does, also in the middle of a job.
"""

import json
import os
import queue
import signal
import threading
import traceback
from typing import Any, TextIO

from experiment.executors.interface import call, describe_failure
from experiment.manifest import version


def main() -> None:
    lines, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read_jobs, args=(lines, jobs), daemon=True).start()
    _answer(answers, {"hello": version()})
    while True:
        job = jobs.get()
        try:
            _answer(answers, {"key": job["key"], "value": call(job["function"], job["payload"])})
        except (Exception, SystemExit) as error:
            answer = {"key": job["key"], "reason": describe_failure(error), "traceback": traceback.format_exc()}
            _answer(answers, answer)


def _read_jobs(lines: TextIO, jobs: "queue.Queue[dict[str, Any]]") -> None:
    for line in lines:
        jobs.put(json.loads(line))
    # The driver is gone, and nobody waits for the job in hand.
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _answer(stream: TextIO, data: dict[str, Any]) -> None:
    stream.write(json.dumps(data, allow_nan=False) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
