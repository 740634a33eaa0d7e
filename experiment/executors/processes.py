"""One persistent subprocess per worker: a job that crashes, hangs or runs out of memory costs
only itself.

Not ProcessPoolExecutor: there, one killed job breaks the whole pool and a killed driver leaves
orphans.
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

from phinas.experiment.errors import StorageError
from phinas.experiment.executors.interface import Job, ReportCallback, Result
from phinas.experiment.manifest import version

# OpenMP threads that spin while they wait starve each other on a busy machine: measured, 20 steps
# of a tiny network took 43 s, 3 s with threads that sleep, and 0.5 s on an idle machine either way.
_PASSIVE_OPENMP = {"OMP_WAIT_POLICY": "PASSIVE"}

_GRACE_SECONDS = 4.0  # for jobs that are asked to end; phinas/errors.py is patient for 5


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
            pass  # it died just now: the reader's end-of-file settles its job


class ProcessExecutor:
    """`max_workers` worker processes, started when first needed."""

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
                raise RuntimeError("no job is under way")
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
                    continue  # the last words of a process that was replaced
                # A slot past its limit must not wait for the others to fall silent.
                result = self._handle_message(index, worker, message) or self._kill_overdue()
            if result is not None:
                return result

    def close(self) -> None:
        """Jobs under way are asked to end (SIGTERM) and have a moment to keep what they have:
        `phinas.training.engine.job` does.
        """
        try:
            self._ask_to_end()
        finally:
            for index in range(self.max_workers):
                self._kill_worker(index)

    def _ask_to_end(self) -> None:
        busy = {
            worker.generation: worker
            for worker in self._workers
            if worker is not None and worker.job is not None
        }
        for worker in busy.values():
            worker.process.terminate()
            # to the report that may have interrupted the driver
            worker.write({"keep_running": True})
        deadline = time.monotonic() + _GRACE_SECONDS
        while busy and (remaining := deadline - time.monotonic()) > 0:
            try:
                _, generation, message = self._messages.get(timeout=remaining)
            except queue.Empty:
                return
            if message is not None and "step" in message and generation in busy:
                # it comes to its end no sooner than it is answered
                busy[generation].write({"keep_running": True})
            elif message is None or "version" not in message:
                busy.pop(generation, None)

    def _assign(self, index: int, job: Job, on_report: ReportCallback | None) -> None:
        # raises what is wrong with it before a process is troubled
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
            }
        )

    def _handle_message(
        self, index: int, worker: _Worker, message: dict[str, Any] | None
    ) -> Result | None:
        """What a message, or the end of a worker (None), means for the job of this worker; None
        while it goes on.
        """
        if message is not None and "version" in message:
            if message["version"] != version():
                raise StorageError(
                    f"a worker runs phinas {message['version']}, the driver {version()}; "
                    "install one version"
                )
            return None
        job = worker.job
        if message is not None and "step" in message and worker.on_report is not None:
            worker.write({"keep_running": worker.on_report(message["step"], message["value"])})
            return None
        if message is not None and job is not None:
            worker.job = None
            return Result(
                job.key,
                message.get("value"),
                message.get("reason", ""),
                failure=message.get("failure", ""),
            )
        self._kill_worker(index)  # a process that has ended keeps its exit code
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
        # A session of its own: Ctrl-C at the terminal reaches the driver, which decides what
        # becomes of the workers. -P and the whole path: a worker imports exactly what the driver
        # would, whatever lies in the current directory.
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "phinas.experiment.executors.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            env=_PASSIVE_OPENMP
            | os.environ
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
        # closed here and nowhere else: to close it while it is read would wait for its end
        with process.stdout:
            for line in process.stdout:
                try:
                    self._messages.put((index, generation, json.loads(line)))
                except ValueError:
                    break  # half a line: the process was killed while it wrote
        self._messages.put((index, generation, None))

    def _kill_worker(self, index: int) -> None:
        worker, self._workers[index] = self._workers[index], None
        if worker is None:
            return
        try:
            os.killpg(worker.process.pid, signal.SIGKILL)  # with whatever the job has started
        except ProcessLookupError:
            pass  # it has ended by itself, and was waited for
        worker.process.wait()
        try:
            assert worker.process.stdin is not None
            worker.process.stdin.close()
        except OSError:
            pass  # closing flushes, and nobody reads any more
