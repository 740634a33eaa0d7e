"""Main program of a worker process, which exchanges JSON lines with the driver.

The worker reads jobs and the answers to the reports of the running job. It writes reports and
results. Both go over copies of the original standard input and output. What a job prints goes to
standard error instead, and its standard input is empty.

A thread reads the input. So the worker and all processes that a job has started end as soon as the
driver ends, even during a job.
"""

import json
import os
import queue
import signal
import threading
from pathlib import Path
from typing import Any, TextIO

from phinas.experiment.executors.interface import run_job_in_worker
from phinas.experiment.executors.job_files import JobFile, JobFiles
from phinas.experiment.versions import version


def main() -> None:
    """Run jobs until the driver closes the connection."""
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
            continue  # an answer to a report of a job that has ended
        files = JobFiles(
            {name: JobFile(path, sha256) for name, (path, sha256) in job["files"].items()},
            Path(job["output_folder"]) if job["output_folder"] else None,
        )
        on_report = ask_driver if job["reports_enabled"] else None
        _send(replies, run_job_in_worker(job["function"], job["payload"], on_report, files))


def _read_messages(lines: TextIO, messages: "queue.Queue[dict[str, Any]]") -> None:
    for line in lines:
        messages.put(json.loads(line))
    # The driver has ended, so no process waits for the result of the current job.
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _send(stream: TextIO, data: dict[str, Any]) -> None:
    stream.write(json.dumps(data, allow_nan=False) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
