"""One persistent subprocess a slot: a job that crashes, hangs or eats the memory costs that job,
nothing else.

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
from phinas.experiment.executors.interface import Job, Report, Result
from phinas.experiment.manifest import version

# OpenMP threads that spin while they wait starve each other on a busy machine: measured, 20 steps
# of a tiny network took 43 s, 3 s with threads that sleep, and 0.5 s on an idle machine either way.
_PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}

_GRACE_SECONDS = 4.0  # for jobs that are asked to end; phinas/errors.py is patient for 5


@dataclass
class _Slot:
    process: subprocess.Popen[str]
    generation: int
    job: Job | None = None
    listener: Report | None = None
    deadline: float = 0.0

    def write(self, line: dict[str, Any]) -> None:
        try:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(line, allow_nan=False) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it died just now: the reader's end-of-file settles its job


class ProcessExecutor:
    """`slots` worker processes, started when first needed."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._workers: list[_Slot | None] = [None] * slots
        self._answers: queue.Queue[tuple[int, int, dict[str, Any] | None]] = queue.Queue()
        self._generation = 0

    def submit(self, job: Job, listener: Report | None = None) -> None:
        for index in range(self.slots):
            slot = self._workers[index]
            if slot is None or slot.job is None:
                self._give(index, job, listener)
                return
        raise RuntimeError(f"all {self.slots} slots are at work")

    def next_result(self) -> Result:
        while True:
            busy = [slot for slot in self._workers if slot is not None and slot.job is not None]
            if not busy:
                raise RuntimeError("no job is under way")
            wait = min(slot.deadline for slot in busy) - time.monotonic()
            try:
                index, generation, answer = self._answers.get(timeout=min(max(wait, 0.0), 3600.0))
            except queue.Empty:
                result = self._end_overdue()
            else:
                slot = self._workers[index]
                if slot is None or slot.generation != generation:
                    continue  # the last words of a process that was replaced
                # A slot past its limit must not wait for the others to fall silent.
                result = self._settle(index, slot, answer) or self._end_overdue()
            if result is not None:
                return result

    def close(self) -> None:
        """Jobs under way are asked to end (SIGTERM) and have a moment to keep what they have:
        `phinas.training.engine.job` does.
        """
        try:
            self._ask_to_end()
        finally:
            for index in range(self.slots):
                self._kill(index)

    def _ask_to_end(self) -> None:
        busy = {
            slot.generation: slot
            for slot in self._workers
            if slot is not None and slot.job is not None
        }
        for slot in busy.values():
            slot.process.terminate()
            slot.write({"go_on": True})  # to the report that may have interrupted the driver
        until = time.monotonic() + _GRACE_SECONDS
        while busy and (left := until - time.monotonic()) > 0:
            try:
                _, generation, answer = self._answers.get(timeout=left)
            except queue.Empty:
                return
            if answer is not None and "step" in answer and generation in busy:
                busy[generation].write(
                    {"go_on": True}
                )  # it comes to its end no sooner than it is answered
            elif answer is None or "hello" not in answer:
                busy.pop(generation, None)

    def _give(self, index: int, job: Job, listener: Report | None) -> None:
        json.dumps(
            job.payload, allow_nan=False
        )  # raises what is wrong with it before a process is troubled
        slot = self._workers[index]
        if slot is None or slot.process.poll() is not None:
            self._kill(index)
            slot = self._workers[index] = self._start(index)
        slot.job, slot.listener, slot.deadline = job, listener, time.monotonic() + job.limit_seconds
        slot.write(
            {"function": job.function, "payload": job.payload, "listened": listener is not None}
        )

    def _settle(self, index: int, slot: _Slot, answer: dict[str, Any] | None) -> Result | None:
        """What an answer, or the end of a worker (None), means for the job in its slot; None while
        it goes on.
        """
        if answer is not None and "hello" in answer:
            if answer["hello"] != version():
                raise StorageError(
                    f"a worker runs phinas {answer['hello']}, the driver {version()}; install one "
                    "version"
                )
            return None
        job = slot.job
        if answer is not None and "step" in answer and slot.listener is not None:
            slot.write({"go_on": slot.listener(answer["step"], answer["value"])})
            return None
        if answer is not None and job is not None:
            slot.job = None
            return Result(
                job.key,
                answer.get("value"),
                answer.get("reason", ""),
                failure=answer.get("failure", ""),
            )
        self._kill(index)  # a process that has ended keeps its exit code
        code = slot.process.returncode
        if job is None:
            return None
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return Result(job.key, None, f"its process died ({how})", failure="died")

    def _end_overdue(self) -> Result | None:
        now = time.monotonic()
        for index, slot in enumerate(self._workers):
            if slot is not None and slot.job is not None and slot.deadline <= now:
                job = slot.job
                self._kill(index)
                return Result(
                    job.key, None, f"exceeded its limit of {job.limit_seconds:g} s", failure="hung"
                )
        return None

    def _start(self, index: int) -> _Slot:
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
            env=_PATIENT
            | os.environ
            | {
                "PYTHONPATH": path,
                "PYTHONWARNINGS": "ignore",
                "PHINAS_SLOT": str(index),
                "PHINAS_SLOTS": str(self.slots),
            },
        )
        threading.Thread(
            target=self._read, args=(index, self._generation, process), daemon=True
        ).start()
        return _Slot(process, self._generation)

    def _read(self, index: int, generation: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with (
            process.stdout
        ):  # closed here and nowhere else: to close it while it is read would wait for its end
            for line in process.stdout:
                try:
                    self._answers.put((index, generation, json.loads(line)))
                except ValueError:
                    break  # half a line: the process was killed while it wrote
        self._answers.put((index, generation, None))

    def _kill(self, index: int) -> None:
        slot, self._workers[index] = self._workers[index], None
        if slot is None:
            return
        try:
            os.killpg(slot.process.pid, signal.SIGKILL)  # with whatever the job has started
        except ProcessLookupError:
            pass  # it has ended by itself, and was waited for
        slot.process.wait()
        try:
            assert slot.process.stdin is not None
            slot.process.stdin.close()
        except OSError:
            pass  # closing flushes, and nobody reads any more
