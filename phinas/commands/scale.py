"""`phinas scale`: find alpha, beta, gamma and the family."""

from pathlib import Path
from typing import Any

import click

from phinas.experiment.errors import InputError
from phinas.options import (
    BASELINE,
    FAMILY,
    JSON,
    SCALING,
    Verb,
    changed,
    config_of,
    configured,
)
from phinas.output import print_json, print_summary, quiet


@click.command(cls=Verb)
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="With --baseline: the run directory.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show the networks that would be compared and what that costs; train nothing.",
)
@click.option(
    "--published", is_flag=True, help="Show the published B1..B7 beside what the rule makes of B0."
)
@configured(SCALING, BASELINE, FAMILY)
@JSON
def scale(
    directory: Path | None,
    out: Path | None,
    dry_run: bool,
    published: bool,
    settings: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """alpha, beta, gamma and the family: for the baseline of a run (DIRECTORY), or for --baseline
    with --data and --out.
    """
    from phinas import pipeline

    if directory is not None:
        foreign = [
            name
            for name, value in options.items()
            if value is not None and not _goes_with_a_run(name)
        ]
        if foreign or out:
            given = ", ".join(name.replace("__", ".") for name in foreign) or "--out"
            raise InputError(
                f"scale DIRECTORY takes {given} from the run; only --set and options of the "
                "scaling go with it"
            )
    if dry_run or published:
        _show_scaling(directory, settings, options, published=published, as_json=as_json)
        return
    if directory is not None:
        print_summary(
            pipeline.scale(directory, config=changed(directory, settings, options), quiet=quiet()),
            as_json,
        )
        return
    if options["scaling__baseline"] is None or out is None:
        raise InputError("scale: name a run directory, or --baseline with --data and --out")
    config = config_of(None, settings, options, quick=False, imageless=True)
    print_summary(pipeline.run(config, out=out, stages=("scale", "report"), quiet=quiet()), as_json)


def _goes_with_a_run(name: str) -> bool:
    return name.startswith("scaling__") and name != "scaling__baseline"


def _show_scaling(
    directory: Path | None,
    settings: tuple[str, ...],
    options: dict[str, Any],
    *,
    published: bool,
    as_json: bool,
) -> None:
    from phinas.api import scale_preview
    from phinas.experiment.run_dir import RunDir

    if directory is None:
        config = config_of(None, settings, options, quick=False, imageless=True)
    else:
        config = changed(
            directory, (*settings, f"scaling.baseline={RunDir(directory).baseline}"), options
        )
    facts = scale_preview.published(config) if published else scale_preview.dry_run(config)
    if as_json:
        print_json({name: fact for name, fact in facts.items() if name != "text"})
    elif published:
        click.echo(f"{facts['text']}\n{facts['difference']}")
    else:
        click.echo(scale_preview.grid_as_text(facts))
