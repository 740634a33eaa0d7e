"""`phinas report`: write the report of a run again."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from phinas.api.arguments import checked_arguments
from phinas.experiment.run_dir import RunDir

if TYPE_CHECKING:
    from phinas.run_summary import RunSummary


@checked_arguments()
def report(directory: str | Path, *, redact: bool = False) -> "RunSummary":
    """Write the report of a run again: one HTML page with CSV, SVG and PNG files.

    The run may be in progress in another process.

    Args:
        directory: The run directory.
        redact: Write a report to give away in DIRECTORY/report_redacted. It has no paths, no file
            names of images, and no name of the user or the machine. The names of the data set,
            the networks and the classes stay.

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
    page = write_report(run_dir, redacted=redact)
    return replace(summarize_run(run_dir), report=page)
