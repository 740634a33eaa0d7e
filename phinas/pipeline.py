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
from phinas.preflight import admit, check
from phinas.progress import Display
from phinas.session import STAGES, open_session, read_config, read_goal
from phinas.stages import STAGE_WORK
from phinas.summary import summary


def run(
    config: Config, *, out: str | Path, stages: Sequence[str] = STAGES, quiet: bool = False
) -> dict[str, Any]:
    """All of it: search, scale, validate, report, in the run directory `out`; the summary of what
    came out.

    An `out` that is a run of this configuration is carried on. Raises the errors of
    phinas.experiment.errors.
    """
    check(config, stages, recorded=RunDir(out).coefficients)
    display = Display(quiet=quiet)
    if "search" in stages and config.search.reward == "soft" and config.search.target is not None:
        from phinas.nas.reward import IDLE_TARGET

        display.say(f"note: search.target: {config.search.target:g}: {IDLE_TARGET}")
    directory = RunDir(out)
    with open_session(directory, config, goal=stages, admit=admit, display=display) as session:
        for stage in STAGES:
            if stage in stages:
                STAGE_WORK[stage](session)
    return summary(directory)


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
    target = RunDir(directory)
    return _again(
        target, config, ("scale", "report"), needs=target.baseline, verb="search", quiet=quiet
    )


def validate(
    directory: str | Path, *, config: Config | None = None, quiet: bool = False
) -> dict[str, Any]:
    """Train the affordable members of a run's family; `config` as for `scale`."""
    target = RunDir(directory)
    return _again(
        target, config, ("validate", "report"), needs=target.coefficients, verb="scale", quiet=quiet
    )


def resume(directory: str | Path, *, quiet: bool = False) -> dict[str, Any]:
    """Carry a run on from wherever it stopped, to the end that it was started for."""
    target = RunDir(directory)
    target.require()
    return run(read_config(target), out=target.path, stages=read_goal(target), quiet=quiet)


def report(directory: str | Path) -> dict[str, Any]:
    """Write the report of a run anew from what the run holds. It may be running elsewhere."""
    target = RunDir(directory)
    target.require()
    from phinas.reports.page import write_report

    write_report(target)
    return summary(target)


def _again(
    target: RunDir,
    config: Config | None,
    stages: tuple[str, ...],
    *,
    needs: Path,
    verb: str,
    quiet: bool,
) -> dict[str, Any]:
    config = config or read_config(target)
    if not needs.exists():
        raise InputError(
            f"{needs}: is not there yet; run `phinas {verb}` (or `phinas resume`) on this run first"
        )
    return run(config, out=target.path, stages=stages, quiet=quiet)
