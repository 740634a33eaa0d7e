"""A fixed list of jobs, run to its end and recorded in one study: what is recorded already is
replayed, never run again.

Finalists, grid members and validation trainings are such lists. The key of a job is the hash of all
that decides its result, so a changed recipe or another baseline makes new jobs and leaves the old
ones as they are.
"""

import errno
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phinas.experiment.errors import DiskError
from phinas.experiment.executors.interface import Executor, Job, Result
from phinas.experiment.measurement import Measurement
from phinas.experiment.trial_store import ObjectiveValue, TrialStore

_MAX_REASONS = 5


@dataclass(frozen=True, slots=True)
class Task:
    """One job of a list; `user_attrs` are recorded with it. Its result is a Measurement as a
    dict.
    """

    job: Job
    user_attrs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task: a measurement, or the reason why there is none."""

    measurement: Measurement | None
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.measurement.accuracy:.1%}" if self.measurement else f"failed: {self.reason}"


def job_key(function: str, payload: dict[str, Any]) -> str:
    """Twenty hexadecimal digits of everything that decides a job's result."""
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
    """Run every task that `trial_store` does not know yet, and return all outcomes by job key.

    `on_progress(done, total, task, outcome)` is called after each, replayed ones first. Tasks of
    one key are one task. A failed task is not tried again (the executor has done that as far as
    it helps).
    list_may_grow: there will be a longer list of the same study, so what waits there and is not
    on this one is left to wait.
    """
    tasks = list({task.job.key: task for task in tasks}.values())
    trial_store.recover()
    recorded_trials = {
        record.user_attrs["key"]: record
        for record in trial_store.records()
        if "key" in record.user_attrs
    }
    for key in recorded_trials.keys() - {task.job.key for task in tasks}:
        if not list_may_grow and not recorded_trials[key].state.is_finished():
            trial_store.fail(recorded_trials[key].number, "no longer on the list")
    outcomes: dict[str, Outcome] = {}
    numbers: dict[str, int] = {}
    pending: list[Task] = []
    for task in tasks:
        record = recorded_trials.get(task.job.key)
        if (
            record is not None
            and record.state.is_finished()
            and (record.is_complete or record.user_attrs.get("attempts"))
        ):
            outcomes[task.job.key] = Outcome(
                record.measurement if record.is_complete else None,
                record.user_attrs.get("reason", ""),
            )
            on_progress(len(outcomes), len(tasks), task, outcomes[task.job.key])
        else:
            if record is not None and not record.state.is_finished():
                numbers[task.job.key] = record.number
            pending.append(task)
    pending_by_key = {task.job.key: task for task in pending}
    num_running = 0
    while pending or num_running:
        while pending and num_running < executor.max_workers:
            task = pending.pop(0)
            if task.job.key not in numbers:
                numbers[task.job.key] = trial_store.begin(
                    {}, {}, key=task.job.key, **task.user_attrs
                )
            executor.submit(task.job)
            num_running += 1
        result = executor.next_result()
        num_running -= 1
        outcome = record_result(
            trial_store,
            numbers[result.key],
            result,
            compute_value=lambda measurement: measurement.accuracy,
        )
        outcomes[result.key] = outcome
        on_progress(len(outcomes), len(tasks), pending_by_key[result.key], outcome)
    return outcomes


def accuracies_by_network(
    tasks: Sequence[Task], outcomes: Mapping[str, Outcome]
) -> dict[str, list[float]]:
    """The accuracies of each `spec_id` in the order of its tasks; only of networks of which no task
    failed.
    """
    outcomes_by_network: dict[str, list[Outcome]] = {}
    for task in tasks:
        outcomes_by_network.setdefault(task.user_attrs["spec_id"], []).append(
            outcomes[task.job.key]
        )
    accuracies = {
        name: [outcome.measurement.accuracy for outcome in network_outcomes if outcome.measurement]
        for name, network_outcomes in outcomes_by_network.items()
    }
    return {
        name: values
        for name, values in accuracies.items()
        if len(values) == len(outcomes_by_network[name])
    }


def failure_reasons(outcomes: Mapping[str, Outcome]) -> str:
    """Why tasks failed, each reason once."""
    return "; ".join(sorted({outcome.reason for outcome in outcomes.values() if outcome.reason}))


def summarize_reasons(reasons: Sequence[str]) -> str:
    """The most frequent reasons, each with its count."""
    counts = Counter(reasons).most_common()
    described = [f"{count} x {reason[:300]}" for reason, count in counts[:_MAX_REASONS]]
    num_other = len(counts) - len(described)
    return "; ".join([*described, f"and {num_other} other reasons"] if num_other else described)


def record_result(
    trial_store: TrialStore,
    number: int,
    result: Result,
    *,
    compute_value: Callable[[Measurement], ObjectiveValue | None],
    intermediate_values: Mapping[int, float] | None = None,
    pruning_reason: str = "",
) -> Outcome:
    """Write a job's result into its trial; a value that is no measurement is a failure with that
    reason. compute_value: the objective value of a measurement, or None while it is not known yet.

    intermediate_values: the reported accuracies by step; pruning_reason: why it was stopped, if so.

    A full disk is not the network's fault: DiskError, and the trial is left to be put back.
    """
    reason = result.reason
    if any(f"[Errno {code}]" in reason for code in (errno.ENOSPC, errno.EDQUOT)):
        raise DiskError(f"a training could not write ({reason}); free space, then `phinas resume`")
    if result.value is not None:
        try:
            measurement = Measurement.from_dict(result.value)
            if pruning_reason:
                trial_store.prune(
                    number,
                    pruning_reason,
                    measurement,
                    intermediate_values or {},
                    attempts=result.attempts,
                )
            else:
                trial_store.complete(
                    number,
                    compute_value(measurement),
                    measurement,
                    intermediate_values,
                    attempts=result.attempts,
                )
            return Outcome(measurement, pruning_reason)
        except (TypeError, ValueError) as error:
            reason = f"the evaluator gave no measurement: {error}"
    trial_store.fail(number, reason, intermediate_values, attempts=result.attempts)
    return Outcome(None, reason)
