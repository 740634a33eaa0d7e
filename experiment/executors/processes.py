"""Executor with one persistent subprocess per worker.

A job that crashes, hangs or runs out of memory does not affect other jobs. ProcessPoolExecutor is
not used because there a killed job breaks the pool, and a killed driver leaves orphan processes.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phinas.experiment.cpu_threads import openmp_environment
from phinas.experiment.executors.interface import (
    Job,
    ReportCallback,
    Result,
    version_mismatch,
)
from phinas.experiment.versions import version

# Time for running jobs to save their state after SIGTERM. It must be less than the 5 s after which
# phinas/errors.py raises an interrupt again.
_GRACE_SECONDS = 4.0


@dataclass
class _Worker:
    process: subprocess.Popen[str]
    generation: int
    job: Job | None = None
    on_report: ReportCallback | None = None
    deadline: float = 0.0

    def write(self, line: dict[str, Any]) -> None:
        try:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(line, allow_nan=False) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # The process has just died. The reading thread sees the end of its output.


class ProcessExecutor:
    """Runs each job in one of `max_workers` worker processes, which start when first needed."""

    def __init__(self, max_workers: int) -> None:
        self.max_workers = max_workers
        self._workers: list[_Worker | None] = [None] * max_workers
        self._messages: queue.Queue[tuple[int, int, dict[str, Any] | None]] = queue.Queue()
        self._generation = 0

    def submit(self, job: Job, on_report: ReportCallback | None = None) -> None:
        for index in range(self.max_workers):
            worker = self._workers[index]
            if worker is None or worker.job is None:
                self._assign(index, job, on_report)
                return
        raise RuntimeError(f"all {self.max_workers} workers are busy")

    def next_result(self) -> Result:
        while True:
            busy = [
                worker for worker in self._workers if worker is not None and worker.job is not None
            ]
            if not busy:
                raise RuntimeError("no job is running")
            timeout_seconds = min(worker.deadline for worker in busy) - time.monotonic()
            try:
                index, generation, message = self._messages.get(
                    timeout=min(max(timeout_seconds, 0.0), 3600.0)
                )
            except queue.Empty:
                result = self._kill_overdue()
            else:
                worker = self._workers[index]
                if worker is None or worker.generation != generation:
                    continue  # a message of a process that has been replaced
                # Messages of other workers must not delay the end of an overdue job.
                result = self._handle_message(index, worker, message) or self._kill_overdue()
            if result is not None:
                return result

    def close(self) -> None:
        """Stop the workers.

        Running jobs get SIGTERM and `_GRACE_SECONDS` to save their state, as the training jobs of
        `phinas.training.engine.job` do. Then all workers are killed.
        """
        try:
            self._terminate_jobs()
        finally:
            for index in range(self.max_workers):
                self._kill_worker(index)

    def _terminate_jobs(self) -> None:
        busy = {
            worker.generation: worker
            for worker in self._workers
            if worker is not None and worker.job is not None
        }
        for worker in busy.values():
            worker.process.terminate()
            # The driver may have been interrupted before it answered a report of this job.
            worker.write({"keep_running": True})
        deadline = time.monotonic() + _GRACE_SECONDS
        while busy and (remaining := deadline - time.monotonic()) > 0:
            try:
                _, generation, message = self._messages.get(timeout=remaining)
            except queue.Empty:
                return
            if message is not None and "step" in message and generation in busy:
                # The job waits for this answer before it can end.
                busy[generation].write({"keep_running": True})
            elif message is None or "version" not in message:
                busy.pop(generation, None)

    def _assign(self, index: int, job: Job, on_report: ReportCallback | None) -> None:
        # Raise for an invalid payload before a process is started or changed.
        json.dumps(job.payload, allow_nan=False)
        worker = self._workers[index]
        if worker is None or worker.process.poll() is not None:
            self._kill_worker(index)
            worker = self._workers[index] = self._start_worker(index)
        worker.job, worker.on_report, worker.deadline = (
            job,
            on_report,
            time.monotonic() + job.limit_seconds,
        )
        worker.write(
            {
                "function": job.function,
                "payload": job.payload,
                "reports_enabled": on_report is not None,
                "files": {name: [file.path, file.sha256] for name, file in job.files.items()},
                "output_folder": job.output_folder,
            }
        )

    def _handle_message(
        self, index: int, worker: _Worker, message: dict[str, Any] | None
    ) -> Result | None:
        """Handle a message of a worker, or the end of its process (`message` is None).

        Returns:
            The result of the worker's job, or None while it is running.
        """
        if message is not None and "version" in message:
            if message["version"] != version():
                raise version_mismatch(message["version"])
            return None
        job = worker.job
        if message is not None and "step" in message and worker.on_report is not None:
            worker.write({"keep_running": worker.on_report(message["step"], message["value"])})
            return None
        if message is not None and job is not None:
            worker.job = None
            return Result.from_reply(job, message)
        self._kill_worker(index)  # keeps the exit code of a process that has ended
        code = worker.process.returncode
        if job is None:
            return None
        exit_text = f"signal {-code}" if code < 0 else f"exit code {code}"
        return Result(job.key, None, f"its process died ({exit_text})", failure="crash")

    def _kill_overdue(self) -> Result | None:
        now = time.monotonic()
        for index, worker in enumerate(self._workers):
            if worker is not None and worker.job is not None and worker.deadline <= now:
                job = worker.job
                self._kill_worker(index)
                return Result(
                    job.key,
                    None,
                    f"exceeded its limit of {job.limit_seconds:g} s",
                    failure="timeout",
                )
        return None

    def _start_worker(self, index: int) -> _Worker:
        self._generation += 1
        # In a new session Ctrl-C at the terminal reaches only the driver, which then stops the
        # workers. With -P and the driver's full path a worker imports the same modules as the
        # driver, whatever is in the current directory.
        path = os.pathsep.join(filter(None, (entry or _current_directory() for entry in sys.path)))
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "phinas.experiment.executors.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            env=os.environ
            | openmp_environment(os.environ)
            | {
                "PYTHONPATH": path,
                "PYTHONWARNINGS": "ignore",
                "PHINAS_WORKER_INDEX": str(index),
                "PHINAS_NUM_WORKERS": str(self.max_workers),
            },
        )
        threading.Thread(
            target=self._read_messages, args=(index, self._generation, process), daemon=True
        ).start()
        return _Worker(process, self._generation)

    def _read_messages(self, index: int, generation: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        # Only this thread closes the pipe: closing it during a read would block until its end.
        with process.stdout:
            for line in process.stdout:
                try:
                    self._messages.put((index, generation, json.loads(line)))
                except ValueError:
                    break  # an incomplete line: the process was killed while it wrote
        self._messages.put((index, generation, None))

    def _kill_worker(self, index: int) -> None:
        worker, self._workers[index] = self._workers[index], None
        if worker is None:
            return
        try:
            os.killpg(worker.process.pid, signal.SIGKILL)  # and all processes of the job
        except ProcessLookupError:
            pass  # The process has ended and its exit code has been read.
        worker.process.wait()
        try:
            assert worker.process.stdin is not None
            worker.process.stdin.close()
        except OSError:
            pass  # Closing flushes the pipe, but no process reads it any more.


def _current_directory() -> str:
    """The current directory. "" if it was removed."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return ""
