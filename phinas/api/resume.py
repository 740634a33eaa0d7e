"""`phinas resume`: resume a run."""

from pathlib import Path
from typing import TYPE_CHECKING

from phinas.api.arguments import checked_arguments
from phinas.experiment.run_dir import RunDir

if TYPE_CHECKING:
    from phinas.run_summary import RunSummary


@checked_arguments()
def resume(directory: str | Path, *, quiet: bool = False) -> "RunSummary":
    """Resume a run and finish its remaining stages.

    Recorded trainings are not repeated. The results are those of a run without interruption.

    Args:
        directory: The run directory.
        quiet: Show no progress.

    Returns:
        The results of the run.

    Raises:
        InputError: The directory is not a run.
        InUseError: Another process works in it.
        StorageError: Its record of trials is damaged or cannot be reached.

    Examples:
        >>> phinas.resume("runs/photos").as_text()
    """
    from phinas.pipeline import run_stages
    from phinas.run_context import read_config, read_goal

    run_dir = RunDir(directory)
    run_dir.require_run()
    return run_stages(
        read_config(run_dir), out=run_dir.path, stages=read_goal(run_dir), quiet=quiet
    )
