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
from phinas.experiment.trial_store import Ledger, Value

_TOLD_REASONS = 5


@dataclass(frozen=True, slots=True)
class Task:
    """One job of a list; `attributes` are recorded with it. Its result is a Measurement as a
    dict.
    """

    job: Job
    attributes: dict[str, Any]


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


def run_batch(
    tasks: Sequence[Task],
    ledger: Ledger,
    executor: Executor,
    *,
    notify: Callable[[int, int, Task, Outcome], None],
    growing: bool = False,
) -> dict[str, Outcome]:
    """Run every task that `ledger` does not know yet, and return what became of all, by job key.

    `notify(done, total, task, outcome)` is called after each, replayed ones first. Tasks of one key
    are one task. A failed task is not tried again (the executor has done that as far as it helps).
    growing: there will be a longer list of the same ledger, so what waits there and is not on this
    one is left to wait.
    """
    tasks = list({task.job.key: task for task in tasks}.values())
    ledger.recover()
    recorded = {row.attributes["key"]: row for row in ledger.rows() if "key" in row.attributes}
    for key in recorded.keys() - {task.job.key for task in tasks}:
        if not growing and not recorded[key].state.is_finished():
            ledger.fail(recorded[key].number, "no longer on the list")
    outcomes: dict[str, Outcome] = {}
    numbers: dict[str, int] = {}
    waiting: list[Task] = []
    for task in tasks:
        row = recorded.get(task.job.key)
        if (
            row is not None
            and row.state.is_finished()
            and (row.done or row.attributes.get("attempts"))
        ):
            outcomes[task.job.key] = Outcome(
                row.measurement if row.done else None, row.attributes.get("reason", "")
            )
            notify(len(outcomes), len(tasks), task, outcomes[task.job.key])
        else:
            if row is not None and not row.state.is_finished():
                numbers[task.job.key] = row.number
            waiting.append(task)
    by_key = {task.job.key: task for task in waiting}
    under_way = 0
    while waiting or under_way:
        while waiting and under_way < executor.slots:
            task = waiting.pop(0)
            if task.job.key not in numbers:
                numbers[task.job.key] = ledger.begin({}, {}, key=task.job.key, **task.attributes)
            executor.submit(task.job)
            under_way += 1
        result = executor.next_result()
        under_way -= 1
        outcome = record(
            ledger, numbers[result.key], result, value=lambda measurement: measurement.accuracy
        )
        outcomes[result.key] = outcome
        notify(len(outcomes), len(tasks), by_key[result.key], outcome)
    return outcomes


def paired_accuracies(
    tasks: Sequence[Task], outcomes: Mapping[str, Outcome]
) -> dict[str, list[float]]:
    """The accuracies of each `spec_id` in the order of its tasks; only of networks of which no task
    failed.
    """
    rows: dict[str, list[Outcome]] = {}
    for task in tasks:
        rows.setdefault(task.attributes["spec_id"], []).append(outcomes[task.job.key])
    measured = {
        name: [row.measurement.accuracy for row in found if row.measurement]
        for name, found in rows.items()
    }
    return {name: values for name, values in measured.items() if len(values) == len(rows[name])}


def reasons_of(outcomes: Mapping[str, Outcome]) -> str:
    """Why tasks failed, each reason once."""
    return "; ".join(sorted({outcome.reason for outcome in outcomes.values() if outcome.reason}))


def counted_reasons(reasons: Sequence[str]) -> str:
    """The most frequent reasons, each with its count."""
    counts = Counter(reasons).most_common()
    told = [f"{count} x {reason[:300]}" for reason, count in counts[:_TOLD_REASONS]]
    more = len(counts) - len(told)
    return "; ".join([*told, f"and {more} other reasons"] if more else told)


def record(
    ledger: Ledger,
    number: int,
    result: Result,
    *,
    value: Callable[[Measurement], Value | None],
    reports: Mapping[int, float] | None = None,
    pruned: str = "",
) -> Outcome:
    """Write a job's result into its trial; a value that is no measurement is a failure with that
    reason. value: what a measurement is worth; None: not known yet, the trial is held.

    reports: the accuracies that it told on its way, by step; pruned: why it was stopped, if it was.

    A full disk is not the network's fault: DiskError, and the trial is left to be put back.
    """
    reason = result.reason
    if any(f"[Errno {code}]" in reason for code in (errno.ENOSPC, errno.EDQUOT)):
        raise DiskError(f"a training could not write ({reason}); free space, then `phinas resume`")
    if result.value is not None:
        try:
            measurement = Measurement.from_dict(result.value)
            if pruned:
                ledger.prune(number, pruned, measurement, reports or {}, attempts=result.attempts)
            else:
                ledger.complete(
                    number, value(measurement), measurement, reports, attempts=result.attempts
                )
            return Outcome(measurement, pruned)
        except (TypeError, ValueError) as error:
            reason = f"the evaluator gave no measurement: {error}"
    ledger.fail(number, reason, reports, attempts=result.attempts)
    return Outcome(None, reason)
