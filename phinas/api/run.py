"""`phinas run`: search, scale, validate and report in one call."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from phinas.api.arguments import checked_arguments
from phinas.api.keywords import RunOptions, config_from_keywords, keyword_keys
from phinas.experiment.schema.config import Config
from phinas.options.groups import BASELINE_KEYS, DATA_KEYS, FAMILY_KEYS, RUN_KEYS, SEARCH_KEYS

if TYPE_CHECKING:
    from phinas.run_summary import RunSummary


@checked_arguments(DATA_KEYS, SEARCH_KEYS, BASELINE_KEYS, FAMILY_KEYS, RUN_KEYS)
def run(
    data: str | Path | None = None,
    *,
    out: str | Path,
    config: Config | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
    **options: Unpack[RunOptions],
) -> "RunSummary":
    """Search for a baseline, find its scaling coefficients, train the family, write the report.

    The same call again resumes an interrupted run.

    Args:
        data: The images: "digits", a path (class folders, Parquet files or an .npz file),
            "hf:NAME" or "torchvision:NAME". None: those of `config`, or the quick start on digits
            where there is no `config` either.
        out: The run directory, which is created or resumed.
        config: A configuration or the path of a YAML file, which the other arguments override.
        settings: Further keys of docs/configuration.md by dotted key, such as
            {"validation.seeds": 3}.
        quiet: Show no progress.
        **options: The options of `phinas run`, with underscores: space ("small_images" or the
            evaluator's), trials (100), epochs (10, of a candidate's training), max_flops (no
            limit), strategy ("bayesian"), baseline (the result of the search), phi, seed (0),
            device ("auto"), workers ("auto") and the others that `phinas run --help` lists.

    Returns:
        The baseline, the coefficients and the family with their scores, and the path of the report.

    Raises:
        InputError: An argument or the data set is wrong, or `out` holds another run.
        InUseError: Another process works in `out`.
        NoResultError: No network could be trained, or nothing is within the cost limits.

    Examples:
        >>> result = phinas.run("photos/", out="runs/photos", trials=60, max_flops="5M")
        >>> result.coefficients.alpha
        1.2
    """
    from phinas.pipeline import run_stages

    keys = keyword_keys(DATA_KEYS, SEARCH_KEYS, BASELINE_KEYS, FAMILY_KEYS, RUN_KEYS)
    run_config = config_from_keywords(
        "run", config, {"data": data, **options}, keys, settings=settings, use_quick_config=True
    )
    return run_stages(run_config, out=out, quiet=quiet)
