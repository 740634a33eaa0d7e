"""`phinas search`: search for a baseline network."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from phinas.api.arguments import checked_arguments
from phinas.api.keywords import RunOptions, config_from_keywords, keyword_keys
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config
from phinas.options.groups import DATA_KEYS, RESOLUTION_KEYS, RUN_KEYS, SEARCH_KEYS

if TYPE_CHECKING:
    from phinas.run_summary import RunSummary


@checked_arguments(DATA_KEYS, SEARCH_KEYS, RESOLUTION_KEYS, RUN_KEYS)
def search(
    data: str | Path | None = None,
    *,
    out: str | Path,
    config: Config | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
    **options: Unpack[RunOptions],
) -> "RunSummary":
    """Search for a baseline network and write the report of the search.

    The same call again resumes an interrupted search. `phinas.scale(out)` continues with its
    result.

    Args:
        data: The images: "digits", a path (class folders, Parquet files or an .npz file),
            "hf:NAME" or "torchvision:NAME". None: those of `config`, or none where the evaluator
            trains nothing.
        out: The run directory, which is created or resumed.
        config: A configuration or the path of a YAML file, which the other arguments override.
        settings: Further keys of docs/configuration.md by dotted key, such as
            {"search.finalists": 8}.
        quiet: Show no progress.
        **options: The options of `phinas search`, with underscores: space ("small_images" or the
            evaluator's), trials (100), epochs (10, of a candidate's training), max_flops (no
            limit), strategy ("bayesian"), evaluator ("proxy"), reward ("soft"), seed (0), device
            ("auto"), workers ("auto") and the others that `phinas search --help` lists.

    Returns:
        The baseline with its cost and score, and the path of the report.

    Raises:
        InputError: An argument or the data set is wrong, or `out` holds another run.
        InUseError: Another process works in `out`.
        NoResultError: No network could be trained, or nothing is within the cost limits.

    Examples:
        >>> result = phinas.search("photos/", space="small_images", trials=60, out="runs/x")
        >>> result.baseline.flops
        4210000
    """
    from phinas.pipeline import run_stages

    keys = keyword_keys(DATA_KEYS, SEARCH_KEYS, RESOLUTION_KEYS, RUN_KEYS)
    run_config = config_from_keywords(
        "search", config, {"data": data, **options}, keys, settings=settings
    )
    if run_config.scaling.baseline is not None:
        raise InputError(
            f"scaling.baseline: {run_config.scaling.baseline!r} leaves nothing to search; leave it "
            "out, or use `phinas scale`"
        )
    return run_stages(run_config, out=out, stages=("search", "report"), quiet=quiet)
