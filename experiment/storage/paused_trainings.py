"""The states of paused trainings: one owner for all studies of a run.

A state is a file that is named by the SHA-256 of its content, so equal states are one file. An
index says of which training and epoch each state is. A job that pauses writes its state to a folder
of its own, and the driver moves it here after it has recorded the pause.

A state only saves time: without it, a training starts from the first epoch and has the same result.
So a missing or damaged state is no error, and states are evicted when they exceed their disk space.
A driver that is killed leaves at most files that the index does not have. They are removed when the
states are opened.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from phinas.experiment.executors.interface import Job, Result
from phinas.experiment.executors.job_files import JobFile
from phinas.experiment.paused_state import PAUSED_STATE, PausedState
from phinas.experiment.run_dir import write_atomic, write_json

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class _Entry:
    """A state in the index.

    Attributes:
        study: The study with the training.
        training_key: The key of the training.
        epoch: The number of trained epochs.
        sha256: The name of the file.
        num_bytes: Its size.
        is_token: Whether its content is a resume token as JSON.
        priority: States with the lowest priority are evicted first.
    """

    study: str
    training_key: str
    epoch: int
    sha256: str
    num_bytes: int
    is_token: bool
    priority: float


class PausedTrainings:
    """Stores the states of paused trainings and gives them to the jobs that resume them.

    One driver uses them, under the lock of the run.

    Args:
        folder: Their folder. It is created for the first job that may pause.
        max_bytes: Their disk space. The files that running jobs are writing come in addition. 0
            stores none.
    """

    def __init__(self, folder: Path, *, max_bytes: float) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._index, self._incoming = folder / "index.json", folder / "incoming"
        self._running: dict[str, Job] = {}  # by the keys of the jobs
        self._entries: list[_Entry] = []
        if folder.is_dir():
            shutil.rmtree(self._incoming, ignore_errors=True)
            self._entries = [
                entry for entry in _read_index(self._index) if self._path(entry).is_file()
            ]
            self._evict()
            self._write()

    @property
    def num_bytes(self) -> int:
        """The disk space of all states in bytes."""
        return sum({entry.sha256: entry.num_bytes for entry in self._entries}.values())

    def prepare(self, job: Job) -> Job:
        """The job with the newest state of its training from before its stop epoch.

        Args:
            job: A job. One without a training key is returned unchanged. For any other one, `store`
                or `remove` has to be called with its result.
        """
        if not job.training_key or self._max_bytes <= 0:
            return job
        if job.stop_epoch is not None:
            self._folder.mkdir(exist_ok=True)
            job = replace(job, output_folder=str(self._incoming / job.key))
        earlier = [
            entry
            for entry in self._entries
            if entry.training_key == job.training_key
            and (job.stop_epoch is None or entry.epoch < job.stop_epoch)
        ]
        for entry in sorted(earlier, key=lambda entry: -entry.epoch):
            prepared = self._add_state(job, entry)
            if prepared is not None:
                job = prepared
                break
        self._running[job.key] = job
        return job

    def store(self, result: Result, *, study: str, priority: float) -> None:
        """Store the state that a job left when its training paused. It replaces earlier states.

        Call it after the pause was recorded. If the job left no state, earlier ones stay.

        Args:
            result: The result of the job.
            study: The study with the training.
            priority: States with the lowest priority are evicted first.
        """
        job = self._running.pop(result.key, None)
        if job is None:
            return
        state = PausedState.from_dict((result.value or {}).get(PAUSED_STATE))
        entry = self._take_over(job, result, state, study, priority) if state else None
        shutil.rmtree(self._incoming / job.key, ignore_errors=True)
        if entry is None:
            return
        self._drop(lambda other: other.training_key == job.training_key)
        self._entries.append(entry)
        self._evict()
        self._write()

    def remove(self, result: Result) -> None:
        """Remove the states of a training that has ended.

        Args:
            result: The result of its last job.
        """
        job = self._running.pop(result.key, None)
        if job is None:
            return
        shutil.rmtree(self._incoming / job.key, ignore_errors=True)
        if self._drop(lambda entry: entry.training_key == job.training_key):
            self._write()

    def retain(self, study: str, training_keys: Collection[str]) -> None:
        """Remove the states of a study except for those of some trainings.

        Args:
            study: The study.
            training_keys: The trainings that may be resumed. Empty when the study ends.
        """
        if self._drop(
            lambda entry: entry.study == study and entry.training_key not in training_keys
        ):
            self._write()

    def _path(self, entry: _Entry) -> Path:
        return self._folder / entry.sha256

    def _add_state(self, job: Job, entry: _Entry) -> Job | None:
        """The job with a state. None if the state is missing or damaged.

        The SHA-256 of a file is checked where the job runs.
        """
        path = self._path(entry)
        try:
            if path.stat().st_size != entry.num_bytes:
                return None
            content = path.read_bytes() if entry.is_token else b""
        except OSError:
            return None
        if not entry.is_token:
            state = PausedState(entry.epoch, file=PAUSED_STATE)
            job = replace(job, files={PAUSED_STATE: JobFile(str(path), entry.sha256)})
        elif hashlib.sha256(content).hexdigest() == entry.sha256:
            state = PausedState(entry.epoch, token=json.loads(content))
        else:
            return None
        return replace(job, payload=job.payload | {PAUSED_STATE: state.to_dict()})

    def _take_over(
        self, job: Job, result: Result, state: PausedState, study: str, priority: float
    ) -> _Entry | None:
        """Move a state into the folder. None if the job did not write the file that it names."""
        if state.file:
            if state.file not in result.files:
                return None
            file = result.files[state.file]
            sha256, path = file.sha256, self._folder / file.sha256
            Path(file.path).replace(path)
            num_bytes = path.stat().st_size
        else:
            content = json.dumps(state.token, allow_nan=False).encode()
            sha256, num_bytes = hashlib.sha256(content).hexdigest(), len(content)
            write_atomic(self._folder / sha256, content)
        return _Entry(
            study, job.training_key, state.epoch, sha256, num_bytes, not state.file, priority
        )

    def _drop(self, is_dropped: Callable[[_Entry], bool]) -> bool:
        """Remove states from the list. Returns whether there were any."""
        num_entries = len(self._entries)
        self._entries = [entry for entry in self._entries if not is_dropped(entry)]
        return len(self._entries) < num_entries

    def _evict(self) -> None:
        """Remove states until the others fit the disk space, those of running jobs last."""
        in_use = {job.training_key for job in self._running.values()}
        self._entries.sort(
            key=lambda entry: (
                entry.training_key in in_use,
                entry.priority,
                entry.epoch,
                entry.training_key,
            ),
            reverse=True,
        )
        while self._entries and self.num_bytes > self._max_bytes:
            self._entries.pop()

    def _write(self) -> None:
        """Write the index, then remove the files that it does not have."""
        if self._folder.is_dir():
            states = [asdict(entry) for entry in self._entries]
            write_json(self._index, {"format": _FORMAT, "states": states})
            self._remove_orphans()

    def _remove_orphans(self) -> None:
        names = {entry.sha256 for entry in self._entries} | {self._index.name, self._incoming.name}
        for path in self._folder.iterdir():
            if path.name not in names:
                path.unlink(missing_ok=True)


def _read_index(path: Path) -> list[_Entry]:
    """The states in the index. Empty if it is missing or damaged."""
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != _FORMAT:
            return []
        return [_Entry(**values) for values in data["states"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
