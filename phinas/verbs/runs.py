"""The verbs of a run: plan, run and its stages, report, resume."""

from pathlib import Path
from typing import Any

import click

from phinas.experiment.errors import InputError
from phinas.options import (
    BASELINE,
    FAMILY,
    SCALING,
    SEARCH,
    SET,
    Verb,
    changed,
    config_of,
    configured,
)
from phinas.verbs.common import CONFIG, DIRECTORY, JSON, OUT, print_json, quiet, tell


@click.command(cls=Verb)
@CONFIG
@OUT
@configured(SEARCH, BASELINE, FAMILY)
@JSON
def run(
    config: Path | None, out: Path, settings: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """All of it: search, scale, validate, report. Without a configuration or --data: the quick
    start on digits.
    """
    from phinas import pipeline

    tell(
        pipeline.run(config_of(config, settings, options, quick=True), out=out, quiet=quiet()),
        as_json,
    )


@click.command(cls=Verb)
@CONFIG
@OUT
@configured(SEARCH, BASELINE)
@JSON
def search(
    config: Path | None, out: Path, settings: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Only the search for a baseline (and its report)."""
    from phinas import pipeline

    tell(
        pipeline.search(config_of(config, settings, options, quick=False), out=out, quiet=quiet()),
        as_json,
    )


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
        tell(
            pipeline.scale(directory, config=changed(directory, settings, options), quiet=quiet()),
            as_json,
        )
        return
    if options["scaling__baseline"] is None or out is None:
        raise InputError("scale: name a run directory, or --baseline with --data and --out")
    config = config_of(None, settings, options, quick=False, imageless=True)
    tell(pipeline.run(config, out=out, stages=("scale", "report"), quiet=quiet()), as_json)


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


@click.command(cls=Verb)
@DIRECTORY
@SET
@JSON
def validate(directory: Path, settings: tuple[str, ...], as_json: bool) -> None:
    """Train the affordable members of a run's family and measure them on the test split."""
    from phinas import pipeline

    tell(pipeline.validate(directory, config=changed(directory, settings), quiet=quiet()), as_json)


@click.command(cls=Verb)
@DIRECTORY
@JSON
def report(directory: Path, as_json: bool) -> None:
    """Write the report of a run anew: one HTML page, CSV, SVG and PNG."""
    from phinas import pipeline

    tell(pipeline.report(directory), as_json)


@click.command(cls=Verb)
@DIRECTORY
@JSON
def resume(directory: Path, as_json: bool) -> None:
    """Carry a run on from wherever it stopped."""
    from phinas import pipeline

    tell(pipeline.resume(directory, quiet=quiet()), as_json)


@click.command(cls=Verb)
@CONFIG
@configured(SEARCH, BASELINE, FAMILY)
@JSON
def plan(config: Path | None, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """What a run will cost (trainings, FLOPs, hours on this device) before it is spent."""
    from phinas.api.plan import as_text
    from phinas.api.plan import plan as make_plan

    facts = make_plan(config_of(config, settings, options, quick=True))
    if as_json:
        print_json(facts)
        return
    click.echo(as_text(facts))


VERBS = (run, search, scale, validate, report, resume, plan)
