"""Run the stages of a run: search, scale, validate, report.

Each stage reads the files of the stage before it. No file marks a stage as finished. A stage that
runs again uses the recorded trainings and writes its files again, so to resume a run is to run its
stages again.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from phinas.experiment.errors import InputError
from phinas.experiment.manifest import read_manifest, update_manifest
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import Config
from phinas.planning.cost_forecast import expected_work
from phinas.planning.scaling_budget import apply_scaling_budget
from phinas.planning.time_budget import apply_time_budget
from phinas.preflight import check_config, check_with_data
from phinas.run_context import STAGES, open_run, read_config
from phinas.run_summary import RunSummary, summarize_run
from phinas.stage_titles import displayed_stages
from phinas.stages import STAGE_FUNCTIONS
from phinas.terminal.progress import Display

_PREVIOUS_COMMANDS = {"scale": "search", "validate": "scale"}


def run_stages(
    config: Config, *, out: str | Path, stages: Sequence[str] = STAGES, quiet: bool = False
) -> RunSummary:
    """Run some stages in a run directory.

    Args:
        config: The configuration of the run.
        out: The run directory. An existing run of this configuration is resumed.
        stages: Names of STAGES. They run in the order of STAGES.
        quiet: Show no progress.

    Returns:
        The results of the run so far.

    Raises:
        PhinasError: A stage failed. See `phinas.experiment.errors`.
    """
    start = time.monotonic()
    run_dir = RunDir(out)
    check_config(config, stages, run=run_dir)
    display = Display(quiet=quiet)
    config = apply_time_budget(config, run_dir, stages, display)
    display.number_stages(displayed_stages(config, stages))
    if config.run.time_budget is not None and not run_dir.exists:
        display.set_time_budget(config.run.time_budget)
    if "search" in stages:
        _report_unused_target(config, display)
    with open_run(
        run_dir, config, goal=stages, preflight=check_with_data, display=display
    ) as context:
        if (data := context.data) is not None:
            counts = (data.train, data.validation)
            display.weigh_stages(expected_work(config, data, counts, stages))
        earlier = read_manifest(run_dir).seconds
        for stage in STAGES:
            if stage in stages:
                STAGE_FUNCTIONS[stage](context)
                update_manifest(run_dir, seconds=earlier + time.monotonic() - start)
    return summarize_run(run_dir)


def run_next_stage(
    stage: str, directory: str | Path, *, config: Config | None = None, quiet: bool = False
) -> RunSummary:
    """Run one stage of an existing run, and write its report again.

    Args:
        stage: "scale" or "validate".
        directory: The run directory.
        config: The configuration. It may differ from the run's for stages without results. None
            keeps that of the run.
        quiet: Show no progress.

    Returns:
        The results of the run so far.

    Raises:
        InputError: The directory is not a run, or the previous stage has no result yet.
        PhinasError: The stage failed.
    """
    run_dir = RunDir(directory)
    config = config or read_config(run_dir)
    required = run_dir.baseline if stage == "scale" else run_dir.coefficients
    if not required.exists():
        raise InputError(
            f"{required}: does not exist yet; run `phinas {_PREVIOUS_COMMANDS[stage]}` or `phinas "
            "resume` on this run first"
        )
    if stage == "scale":
        config = apply_scaling_budget(config, run_dir, Display(quiet=quiet))
    if stage == "validate":
        from phinas.scaling_search.family.family import require_complete_family

        require_complete_family(run_dir)
    return run_stages(config, out=run_dir.path, stages=(stage, "report"), quiet=quiet)


def _report_unused_target(config: Config, display: Display) -> None:
    """Print a note where a target cost does not change the ranking of the networks."""
    from phinas.nas.reward import UNUSED_TARGET_NOTE

    if config.search.reward == "soft" and config.search.target_cost is not None:
        display.print(
            f"note: search.target_cost: {config.search.target_cost:g}: {UNUSED_TARGET_NOTE}"
        )
