"""`phinas report`: write the report of a run again."""

from pathlib import Path
from typing import TYPE_CHECKING

from phinas.api.arguments import checked_arguments
from phinas.experiment.run_dir import RunDir

if TYPE_CHECKING:
    from phinas.run_summary import RunSummary


@checked_arguments()
def report(directory: str | Path) -> "RunSummary":
    """Write the report of a run again: one HTML page with CSV, SVG and PNG files.

    The run may be in progress in another process.

    Args:
        directory: The run directory.

    Returns:
        The results of the run so far, and the path of the page.

    Raises:
        InputError: The directory is not a run.
        StorageError: Its record of trials is damaged or cannot be reached.

    Examples:
        >>> phinas.report("runs/photos").report
        PosixPath('/home/me/runs/photos/report/index.html')
    """
    from phinas.reports.page import write_report
    from phinas.run_summary import summarize_run

    run_dir = RunDir(directory)
    run_dir.require_run()
    write_report(run_dir)
    return summarize_run(run_dir)
