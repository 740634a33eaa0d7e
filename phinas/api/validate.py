"""`phinas validate`: train the family of a run and measure it on the test split."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.api.arguments import checked_arguments
from phinas.options.config_building import changed_config

if TYPE_CHECKING:
    from phinas.run_summary import RunSummary


@checked_arguments()
def validate(
    directory: str | Path, *, settings: Mapping[str, Any] | None = None, quiet: bool = False
) -> "RunSummary":
    """Train the family of a run, measure it on the test split, write the report.

    Args:
        directory: A run directory that has scaling coefficients. Members with more FLOPs than
            `validation.max_flops_multiple` allows are not trained.
        settings: Keys of docs/configuration.md by dotted key, such as {"validation.seeds": 5}.
        quiet: Show no progress.

    Returns:
        The scores of the family and of the networks that it is compared with.

    Raises:
        InputError: There are no coefficients yet, or a setting is wrong.
        InUseError: Another process works in the run directory.
        NoResultError: No member of the family could be trained.

    Examples:
        >>> result = phinas.validate("runs/photos", settings={"validation.seeds": 3})
    """
    from phinas.pipeline import run_next_stage

    config = changed_config(directory, settings or {})
    return run_next_stage("validate", directory, config=config, quiet=quiet)
