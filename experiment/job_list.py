"""A list of jobs that are run and recorded in one study. A recorded job is not run again.

The trainings of finalists, of grid members and of the validation are such lists. The key of a job
is a hash of everything that determines its result. So another recipe or baseline gives new jobs,
and the recorded ones do not change.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phinas.experiment.errors import DiskError
from phinas.experiment.executors.interface import Executor, Job, Result
from phinas.experiment.measurement import Measurement
from phinas.experiment.storage.trial_record import TrialRecord
from phinas.experiment.storage.trial_store import TrialStore

_MAX_REASONS = 5


@dataclass(frozen=True, slots=True)
class Task:
    """One job of a list, whose result is a Measurement as a dict.

    Attributes:
        job: The job.
        user_attrs: What is recorded with it.
    """

    job: Job
    user_attrs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a task: a measurement, or the reason why there is none.

    Attributes:
        measurement: The measurement, if there is one.
        reason: Why there is none.
        traceback: Of an unexpected error; "" for a recorded task.
    """

    measurement: Measurement | None
    reason: str = ""
    traceback: str = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.measurement.score:.1%}" if self.measurement else f"failed: {self.reason}"


def job_key(function: str, payload: dict[str, Any]) -> str:
    """A hash of everything that determines the result of a job, as 20 hexadecimal digits."""
    text = json.dumps([function, payload], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def run_jobs(
    tasks: Sequence[Task],
    trial_store: TrialStore,
    executor: Executor,
    *,
    on_progress: Callable[[int, int, Task, Outcome], None],
    list_may_grow: bool = False,
) -> dict[str, Outcome]:
    """Run the tasks that are not recorded yet.

    Args:
        tasks: The list. Tasks with the same key are one task.
        trial_store: The record. It names the owner of the states of paused trainings, which later
            jobs of the same trainings continue.
        executor: Runs the jobs, with retries as configured. A recorded failure is final.
        on_progress: Called with (done, total, task, outcome) after each task. The recorded tasks
            are first.
        list_may_grow: Keep unfinished trials that are not in this list, because a later list of the
            same study may include them. Otherwise they are recorded as failed.

    Returns:
        The outcomes of all tasks by job key.
    """
    tasks = list({task.job.key: task for task in tasks}.values())
    trial_store.recover()
    records = {record.key: record for record in trial_store.records() if record.key is not None}
    if not list_may_grow:
        _drop_unlisted(trial_store, records, {task.job.key for task in tasks})
    outcomes: dict[str, Outcome] = {}
    pending: dict[str, Task] = {}
    for task in tasks:
        key, outcome = task.job.key, _recorded_outcome(records.get(task.job.key))
        if outcome is None:
            pending[key] = task
        else:
            outcomes[key] = outcome
            on_progress(len(outcomes), len(tasks), task, outcome)
    numbers = {
        key: record.number for key, record in records.items() if not record.state.is_finished()
    }
    states = trial_store.paused_trainings
    waiting, num_running = list(pending.values()), 0
    while waiting or num_running:
        while waiting and num_running < executor.max_workers:
            task = waiting.pop(0)
            key = task.job.key
            if key not in numbers:
                numbers[key] = trial_store.begin({}, {}, key=key, **task.user_attrs)
            executor.submit(states.prepare(task.job) if states else task.job)
            num_running += 1
        result = executor.next_result()
        num_running -= 1
        outcome = record_result(trial_store, numbers[result.key], result)
        if states and pending[result.key].job.stop_epoch is None:
            states.remove(result)
        elif states:
            priority = outcome.measurement.score if outcome.measurement else 0.0
            states.store(result, study=trial_store.name, priority=priority)
        outcomes[result.key] = outcome
        on_progress(len(outcomes), len(tasks), pending[result.key], outcomes[result.key])
    return outcomes


def _drop_unlisted(
    trial_store: TrialStore, records: Mapping[str, TrialRecord], keys: set[str]
) -> None:
    """Record unfinished trials that are not in the list as failed."""
    for key, record in records.items():
        if key not in keys and not record.state.is_finished():
            trial_store.fail(record.number, "no longer in the list of jobs")


def _recorded_outcome(record: TrialRecord | None) -> Outcome | None:
    """The outcome of a recorded trial.

    Returns:
        None if the job has to be run. This includes a failed trial without an attempt, which was
        interrupted before its job had ended.
    """
    if record is None or not record.state.is_finished():
        return None
    if record.is_complete:
        return Outcome(record.measurement, record.reason)
    return Outcome(None, record.reason) if record.attempts else None


def scores_by_network(
    tasks: Sequence[Task], outcomes: Mapping[str, Outcome]
) -> dict[str, list[float]]:
    """The scores of each network by `network_id`, in the order of its tasks.

    Networks with a failed task are left out.
    """
    outcomes_by_network: dict[str, list[Outcome]] = {}
    for task in tasks:
        outcomes_by_network.setdefault(task.user_attrs["network_id"], []).append(
            outcomes[task.job.key]
        )
    scores = {
        name: [outcome.measurement.score for outcome in network_outcomes if outcome.measurement]
        for name, network_outcomes in outcomes_by_network.items()
    }
    return {
        name: values
        for name, values in scores.items()
        if len(values) == len(outcomes_by_network[name])
    }


def failure_reasons(outcomes: Mapping[str, Outcome]) -> str:
    """The distinct reasons of all failed tasks in one line."""
    return "; ".join(sorted({outcome.reason for outcome in outcomes.values() if outcome.reason}))


def summarize_reasons(reasons: Sequence[str]) -> str:
    """The most frequent reasons, each with its count."""
    counts = Counter(reasons).most_common()
    described = [f"{count} x {reason[:300]}" for reason, count in counts[:_MAX_REASONS]]
    num_other = len(counts) - len(described)
    return "; ".join([*described, f"and {num_other} other reasons"] if num_other else described)


def read_result(result: Result) -> Outcome:
    """The measurement that a job returned, or the reason why it returned none.

    Raises:
        DiskError: The disk is full, read-only or failing. This is not a failure of the network, so
            the trial stays running, and a resumed run starts it again.
    """
    reason = result.reason
    if result.failure == "disk_error":
        raise DiskError(
            f"a job could not read or write a file ({reason}); free space or correct the disk, "
            "then `phinas resume`"
        )
    if result.value is None:
        return Outcome(None, reason, result.traceback)
    try:
        return Outcome(Measurement.from_dict(result.value))
    except (TypeError, ValueError) as error:
        return Outcome(None, f"the evaluator gave no measurement: {error}")


def record_result(trial_store: TrialStore, number: int, result: Result) -> Outcome:
    """Record the result of a job in its trial. The value of the trial is the score.

    Raises:
        DiskError: See `read_result`.
    """
    outcome = read_result(result)
    if outcome.measurement is None:
        trial_store.fail(
            number, outcome.reason, attempts=result.attempts, traceback=outcome.traceback
        )
    else:
        trial_store.complete(
            number, outcome.measurement.score, outcome.measurement, attempts=result.attempts
        )
    return outcome
