"""`phinas status`: how far a run is, and what failed in it."""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from phinas.api.arguments import checked_arguments
from phinas.experiment.run_dir import RunDir
from phinas.experiment.storage.trial_record import TrialRecord, drop_replaced

RunState = Literal["running", "unfinished", "finished"]
StageState = Literal["done", "running", "unfinished", "waiting"]

# The stages of a run that have trainings or evaluations, by the name of their study.
_STUDIES = ("search", "finalists", "scaling", "validation")


@dataclass(frozen=True)
class StageStatus:
    """How far one stage is.

    Attributes:
        name: "data", "search", "finalists", "scaling", "validation" or "report".
        state: "done"; "running"; "unfinished" if it was started and no process runs the run; or
            "waiting" for the stages before it.
        complete: Trials with a score.
        pruned: Trials that the pruner stopped.
        running: Trials that have begun and not ended. If no process runs the run, they begin again
            or continue from their checkpoint.
        paused: Trials whose training is paused.
        failed: Trials that failed for good.
    """

    name: str
    state: StageState
    complete: int = 0
    pruned: int = 0
    running: int = 0
    paused: int = 0
    failed: int = 0


@dataclass(frozen=True)
class FailedTrial:
    """A trial that failed for good.

    Attributes:
        stage: The stage of the trial.
        number: Its number in the stage, as in `RUN:trial-NUMBER` for the search.
        network_id: Its network, if that is known.
        attempts: How often it was started.
        reason: Why its last attempt failed.
        traceback: The last part of the traceback, if the error was unexpected.
    """

    stage: str
    number: int
    network_id: str | None
    attempts: int
    reason: str
    traceback: str


@dataclass(frozen=True)
class RunStatus:
    """How far a run is.

    Attributes:
        run: The run directory.
        state: "running", "unfinished" (`phinas resume` continues it) or "finished".
        holder: The process that runs it, in words; "" if none does.
        stages: In their order.
        failures: All trials that failed for good.
    """

    run: Path
    state: RunState
    holder: str
    stages: tuple[StageStatus, ...]
    failures: tuple[FailedTrial, ...]

    def to_dict(self) -> dict[str, Any]:
        """The status as plain data for JSON."""
        return asdict(self) | {"run": str(self.run)}


@checked_arguments()
def status(directory: str | Path) -> RunStatus:
    """How far a run is, and which of its trials failed.

    The run may be in progress in another process. Nothing is written.

    Args:
        directory: The run directory.

    Returns:
        The state of the run and of its stages, and the failed trials.

    Raises:
        InputError: The directory is not a run, or a file is damaged.
        StorageError: Its record of trials is damaged or cannot be reached.

    Examples:
        >>> [stage.state for stage in phinas.status("runs/photos").stages]
        ['done', 'done', 'done', 'running', 'waiting', 'waiting']
    """
    from phinas.experiment.manifest import read_manifest
    from phinas.experiment.storage.study_storage import open_storage
    from phinas.run_context import read_config, read_goal
    from phinas.stage_titles import displayed_stages

    run = RunDir(directory)
    config = read_config(run)
    holder = run.find_holder()
    with closing(
        open_storage(run.study, url=config.run.storage, run_id=read_manifest(run).id, new=False)
    ) as storage:
        records = {study: drop_replaced(storage.records(study)) for study in _STUDIES}
    done = {
        "data": run.data.exists(),
        "search": bool(records["finalists"]) or run.baseline.exists(),
        "finalists": run.baseline.exists(),
        "scaling": run.coefficients.exists(),
        "validation": run.validation.exists(),
        "report": run.report_page.exists(),
    }
    names = [name for name in displayed_stages(config, read_goal(run)) if name in done]
    current = next((name for name in names if not done[name]), None)
    stages = []
    for name in names:
        state: StageState = "done" if done[name] else "waiting"
        if name == current:
            has_begun = bool(records.get(name)) or name == names[0]
            state = "running" if holder else "unfinished" if has_begun else "waiting"
        stages.append(StageStatus(name, state, **_count_trials(records.get(name, ()))))
    return RunStatus(
        run.path,
        "running" if holder else "finished" if current is None else "unfinished",
        holder,
        tuple(stages),
        tuple(
            FailedTrial(
                study,
                record.number,
                record.network_id,
                max(1, record.attempts),
                record.reason or "no reason was recorded",
                record.traceback,
            )
            for study in _STUDIES
            for record in records[study]
            if record.is_failed
        ),
    )


def _count_trials(records: Sequence[TrialRecord]) -> dict[str, int]:
    return dict(Counter(_trial_state(record) for record in records))


def _trial_state(record: TrialRecord) -> str:
    if record.is_paused:
        return "paused"
    if record.is_failed:
        return "failed"
    if record.is_pruned:
        return "pruned"
    return "complete" if record.is_complete else "running"


def as_text(result: RunStatus, *, with_failures: bool, width: int | None = None) -> str:
    """The status as text.

    Args:
        result: The result of `status`.
        with_failures: List each failed trial.
        width: Maximum number of characters in a line; None for no limit.
    """
    from phinas.reports.formatting import pluralize
    from phinas.terminal.text_table import Column, format_table

    heading = {
        "running": f"{result.run} is running ({result.holder})",
        "unfinished": f"{result.run} is not finished; continue it with phinas resume {result.run}",
        "finished": f"{result.run} is finished",
    }[result.state]
    counts = ("complete", "pruned", "running", "paused", "failed")
    shown = [
        name
        for name in counts
        if name == "complete" or any(getattr(row, name) for row in result.stages)
    ]
    rows = [
        [
            row.name,
            row.state,
            *(f"{getattr(row, name):,}" if row.name in _STUDIES else "" for name in shown),
        ]
        for row in result.stages
    ]
    columns = [Column("stage", "left"), Column("state", "left"), *map(Column, shown)]
    lines = [heading, "", *format_table(columns, rows, width=width)]
    if with_failures:
        lines += ["", *_failure_lines(result.failures, width=width)]
    elif result.failures:
        number = pluralize(len(result.failures), "trial")
        lines += ["", f"{number} failed: phinas status {result.run} --failures"]
    return "\n".join(lines)


def _failure_lines(failures: Sequence[FailedTrial], *, width: int | None) -> list[str]:
    from phinas.terminal.text_table import Column, format_table

    if not failures:
        return ["no trial failed"]
    columns = [
        Column("stage", "left"),
        Column("trial"),
        Column("network", "left"),
        Column("attempts"),
        Column("reason of the last attempt", "left", wrap=True),
    ]
    rows = [
        [row.stage, str(row.number), row.network_id or "", str(row.attempts), row.reason]
        for row in failures
    ]
    by_reason = {row.reason: row for row in reversed(failures) if row.traceback}
    tracebacks = [
        line
        for row in reversed(by_reason.values())
        for line in ("", f"traceback of trial {row.number} ({row.stage}):", row.traceback)
    ]
    return [
        *format_table(columns, rows, width=width),
        *tracebacks,
        "",
        "A failed trial is not repeated by `phinas resume`; the run goes on without it.",
    ]
