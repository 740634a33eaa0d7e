"""`phinas.load`: the records of a run as data frames."""

from pathlib import Path
from typing import TYPE_CHECKING

from phinas.api.arguments import checked_arguments

if TYPE_CHECKING:
    from phinas.loaded_run import LoadedRun


@checked_arguments()
def load(directory: str | Path) -> "LoadedRun":
    """Load the records of a run: trials, learning curves, grid, family and controls as pandas data
    frames, and its networks.

    Nothing is written, and the run may be in progress in another process. `phinas.plot` draws what
    this returns.

    Args:
        directory: The run directory.

    Returns:
        The records at this moment. A stage that has not run has empty frames.

    Raises:
        InputError: The directory is not a run, or a file of it is damaged.
        StorageError: Its record of trials is damaged or cannot be reached.

    Examples:
        >>> run = phinas.load("runs/photos")
        >>> run.trials[run.trials.on_front][["trial", "flops", "score"]]
        >>> run.network("b1").module
    """
    from phinas.loaded_run import LoadedRun

    return LoadedRun(directory)
