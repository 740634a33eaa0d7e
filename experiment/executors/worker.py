"""The subprocess of one slot: JSON lines in, JSON lines out, until its parent is gone.

The real standard output is kept for the protocol and whatever a job prints goes to standard error. A thread reads the
input, so that the process ends at once when the driver does, also in the middle of a job.
"""

import json
import os
import queue
import sys
import threading
import traceback
from typing import Any

from experiment.executors.interface import call, describe_failure
from experiment.manifest import version


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    _answer(answers, {"hello": version()})
    while True:
        job = jobs.get()
        try:
            _answer(answers, {"key": job["key"], "value": call(job["function"], job["payload"])})
        except Exception as error:
            answer = {"key": job["key"], "reason": describe_failure(error), "traceback": traceback.format_exc()}
            _answer(answers, answer)


def _read_jobs(jobs: "queue.Queue[dict[str, Any]]") -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)  # the driver is gone, and nobody waits for the job in hand


def _answer(stream: Any, data: dict[str, Any]) -> None:
    stream.write(json.dumps(data, allow_nan=False) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
