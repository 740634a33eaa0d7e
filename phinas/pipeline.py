"""search, scale, validate, report: each stage reads what the one before wrote, and repeats nothing
that is recorded.

There are no "stage done" marks. Every stage can be run again at any time: trainings that the record
has are replayed, and the files are written anew from them. Resuming is running.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import Config
from phinas.preflight import check_config, check_with_data
from phinas.session import STAGES, open_session, read_config, read_goal
from phinas.stages import STAGE_FUNCTIONS
from phinas.terminal.progress import Display
from phinas.terminal.summary import summarize_run


def run(
    config: Config, *, out: str | Path, stages: Sequence[str] = STAGES, quiet: bool = False
) -> dict[str, Any]:
    """All of it: search, scale, validate, report, in the run directory `out`; the summary of what
    came out.

    An `out` that is a run of this configuration is carried on. Raises the errors of
    phinas.experiment.errors.
    """
    run_dir = RunDir(out)
    check_config(config, stages, recorded=run_dir.coefficients)
    display = Display(quiet=quiet)
    if (
        "search" in stages
        and config.search.reward == "soft"
        and config.search.target_cost is not None
    ):
        from phinas.nas.reward import UNUSED_TARGET_NOTE

        display.print(
            f"note: search.target_cost: {config.search.target_cost:g}: {UNUSED_TARGET_NOTE}"
        )
    with open_session(
        run_dir, config, goal=stages, preflight=check_with_data, display=display
    ) as session:
        for stage in STAGES:
            if stage in stages:
                STAGE_FUNCTIONS[stage](session)
    return summarize_run(run_dir)


def search(config: Config, *, out: str | Path, quiet: bool = False) -> dict[str, Any]:
    """Only the search for a baseline, and the report of it. Raises InputError where the
    configuration brings a baseline.
    """
    if config.scaling.baseline is not None:
        raise InputError(
            f"scaling.baseline: {config.scaling.baseline!r} is given, so there is nothing to "
            "search; use `scale`"
        )
    return run(config, out=out, stages=("search", "report"), quiet=quiet)


def scale(
    directory: str | Path, *, config: Config | None = None, quiet: bool = False
) -> dict[str, Any]:
    """alpha, beta, gamma and the family for the baseline of a run.

    config: the run's own but for `scaling` and `validation`, which may differ as long as that stage
    has not begun.
    """
    run_dir = RunDir(directory)
    return _run_stages(
        run_dir,
        config,
        ("scale", "report"),
        required_file=run_dir.baseline,
        previous_command="search",
        quiet=quiet,
    )


def validate(
    directory: str | Path, *, config: Config | None = None, quiet: bool = False
) -> dict[str, Any]:
    """Train the affordable members of a run's family; `config` as for `scale`."""
    run_dir = RunDir(directory)
    return _run_stages(
        run_dir,
        config,
        ("validate", "report"),
        required_file=run_dir.coefficients,
        previous_command="scale",
        quiet=quiet,
    )


def resume(directory: str | Path, *, quiet: bool = False) -> dict[str, Any]:
    """Carry a run on from wherever it stopped, to the end that it was started for."""
    run_dir = RunDir(directory)
    run_dir.require_run()
    return run(read_config(run_dir), out=run_dir.path, stages=read_goal(run_dir), quiet=quiet)


def report(directory: str | Path) -> dict[str, Any]:
    """Write the report of a run anew from what the run holds. It may be running elsewhere."""
    run_dir = RunDir(directory)
    run_dir.require_run()
    from phinas.reports.page import write_report

    write_report(run_dir)
    return summarize_run(run_dir)


def _run_stages(
    run_dir: RunDir,
    config: Config | None,
    stages: tuple[str, ...],
    *,
    required_file: Path,
    previous_command: str,
    quiet: bool,
) -> dict[str, Any]:
    config = config or read_config(run_dir)
    if not required_file.exists():
        raise InputError(
            f"{required_file}: is not there yet; run `phinas {previous_command}` (or `phinas "
            "resume`) on this run first"
        )
    return run(config, out=run_dir.path, stages=stages, quiet=quiet)
