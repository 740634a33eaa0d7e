"""The command line: one function a verb, which parses, calls and prints. What is heavy is imported inside.

Results go to standard output, everything else to standard error. Exit codes: experiment/errors.py.
"""

import json
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from experiment.errors import InputError
from phinas.exits import call
from phinas.options import BASELINE, FAMILY, SCALING, SEARCH, SET, Verb, changed, config_of, configured, settings_of


class _Verbs(click.Group):
    """A group that suggests the nearest verb."""

    command_class = Verb

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            near = get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"verbs: {', '.join(self.list_commands(ctx))}"
            raise click.UsageError(f"there is no verb {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="phinas")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def cli(**_options: bool) -> None:
    """Find a small convolutional network for your images, and how to scale it."""


_OUT = click.option("--out", type=click.Path(path_type=Path), required=True, help="The run directory, new or to be carried on.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_DIRECTORY = click.argument("directory", type=click.Path(path_type=Path))
_CONFIG = click.argument("config", required=False, type=click.Path(path_type=Path))


@cli.command()
@_CONFIG
@_OUT
@configured(SEARCH, BASELINE, FAMILY)
@_JSON
def run(config: Path | None, out: Path, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """All of it: search, scale, validate, report. Without a configuration or --data: the quick start on digits."""
    from phinas import pipeline

    _tell(pipeline.run(config_of(config, settings, options, quick=True), out=out, quiet=_quiet()), as_json)


@cli.command()
@_CONFIG
@_OUT
@configured(SEARCH, BASELINE)
@_JSON
def search(config: Path | None, out: Path, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Only the search for a baseline (and its report)."""
    from phinas import pipeline

    _tell(pipeline.search(config_of(config, settings, options, quick=False), out=out, quiet=_quiet()), as_json)


@cli.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="With --baseline: the run directory.")
@click.option("--dry-run", is_flag=True, help="Show the networks that would be compared and what that costs; train nothing.")
@click.option("--published", is_flag=True, help="Show the published B1..B7 beside what the rule makes of B0.")
@configured(SCALING, BASELINE, FAMILY)
@_JSON
def scale(
    directory: Path | None,
    out: Path | None,
    dry_run: bool,
    published: bool,
    settings: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """alpha, beta, gamma and the family: for the baseline of a run (DIRECTORY), or for --baseline with --data and --out."""
    from phinas import pipeline

    if directory is not None:
        foreign = [name for name, value in options.items() if value is not None and not _goes_with_a_run(name)]
        if foreign or out:
            given = ", ".join(name.replace("__", ".") for name in foreign) or "--out"
            raise InputError(f"scale DIRECTORY takes {given} from the run; only --set and options of the scaling go with it")
    if dry_run or published:
        _show_scaling(directory, settings, options, published=published, as_json=as_json)
        return
    if directory is not None:
        _tell(pipeline.scale(directory, config=changed(directory, settings, options), quiet=_quiet()), as_json)
        return
    if options["scaling__baseline"] is None or out is None:
        raise InputError("scale: name a run directory, or --baseline with --data and --out")
    config = config_of(None, settings, options, quick=False, imageless=True)
    _tell(pipeline.run(config, out=out, stages=("scale", "report"), quiet=_quiet()), as_json)


def _goes_with_a_run(name: str) -> bool:
    return name.startswith("scaling__") and name != "scaling__baseline"


def _show_scaling(
    directory: Path | None, settings: tuple[str, ...], options: dict[str, Any], *, published: bool, as_json: bool
) -> None:
    from experiment.rundir import RunDir
    from phinas import scaling

    if directory is None:
        config = config_of(None, settings, options, quick=False, imageless=True)
    else:
        config = changed(directory, (*settings, f"scaling.baseline={RunDir(directory).baseline}"), options)
    facts = scaling.published(config) if published else scaling.dry_run(config)
    if as_json:
        _print_json({name: fact for name, fact in facts.items() if name != "text"})
    elif published:
        click.echo(f"{facts['text']}\n{facts['difference']}")
    else:
        click.echo(scaling.grid_as_text(facts))


@cli.command()
@_DIRECTORY
@SET
@_JSON
def validate(directory: Path, settings: tuple[str, ...], as_json: bool) -> None:
    """Train the affordable members of a run's family and measure them on the test split."""
    from phinas import pipeline

    _tell(pipeline.validate(directory, config=changed(directory, settings), quiet=_quiet()), as_json)


@cli.command()
@_DIRECTORY
@_JSON
def report(directory: Path, as_json: bool) -> None:
    """Write the report of a run anew: one HTML page, CSV, SVG and PNG."""
    from phinas import pipeline

    _tell(pipeline.report(directory), as_json)


@cli.command()
@_DIRECTORY
@_JSON
def resume(directory: Path, as_json: bool) -> None:
    """Carry a run on from wherever it stopped."""
    from phinas import pipeline

    _tell(pipeline.resume(directory, quiet=_quiet()), as_json)


@cli.command()
@_CONFIG
@configured(SEARCH, BASELINE, FAMILY)
@_JSON
def plan(config: Path | None, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """What a run will cost (trainings, FLOPs, hours on this device) before it is spent."""
    from phinas.planning import as_text
    from phinas.planning import plan as make_plan

    facts = make_plan(config_of(config, settings, options, quick=True))
    if as_json:
        _print_json(facts)
        return
    click.echo(as_text(facts))


@cli.command()
@click.argument("spec")
@click.option("--compare", metavar="OTHER", help="Set another network beside it, named in any of these ways.")
@click.option("--draw", type=click.Path(path_type=Path), help="Draw the block layout to a file, .svg or .png.")
@click.option("--conventions", is_flag=True, help="Say what other tools count for it, and why.")
@click.option("--verify", is_flag=True, help="Count the built network with fvcore too.")
@_JSON
def describe(spec: str, compare: str | None, draw: Path | None, conventions: bool, verify: bool, as_json: bool) -> None:
    """Stage table and exact cost of a preset (efficientnet_b0), a spec file, timm:NAME or torchvision:NAME.

    FLOPs are multiply-adds.
    """
    from phinas import comparison, description

    facts = description.describe(spec, compare=compare, draw=draw, conventions=conventions, verify=verify)
    if as_json:
        _print_json(facts)
    else:
        click.echo(description.as_text(facts) if compare is None else comparison.as_text(facts))
    if not all(network.get("agrees", True) for network in facts.get("networks", [facts])):
        raise click.exceptions.Exit(1)


@cli.command()
@click.argument("spec")
@click.option(
    "--to", type=click.Choice(["onnx", "torch", "timm", "torchvision"]), help="What for, if --out's ending does not say."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The file: NAME.onnx, NAME.py or NAME.safetensors.")
@click.option("--weights", type=click.Path(path_type=Path), help="A safetensors file in our names, timm's or torchvision's.")
@_JSON
def export(spec: str, to: str | None, out: Path, weights: Path | None, as_json: bool) -> None:
    """Write the network of SPEC for other tools.

    onnx (extra `onnx`) and torch (one Python file that needs nothing of phinas, weights beside it) are run to see that they
    give the same. timm and torchvision: weights in that library's names, and in a JSON file how to call its class.
    """
    from phinas.exporting import export as write_export

    facts = write_export(spec, to=to, out=out, weights=weights)
    if as_json:
        _print_json(facts)
        return
    if facts["recipe"]:
        click.echo(f"{facts['path']}: weights in {to}'s names; {facts['recipe']}: the Python lines that make the model")
        return
    click.echo(f"{facts['path']}: largest difference from torch {facts['largest_relative_difference']:.1e}, relative")


@cli.group()
def bench() -> None:
    """Hold searchers against each other."""


@bench.command()
@click.option("--evaluator", required=True, help="accel-nasbench:PATH, or your own package.module:function.")
@click.option("--space", help="The space that is searched; without it the evaluator's own.")
@click.option("--evaluations", type=click.IntRange(2), default=400, show_default=True, help="Networks a run may measure.")
@click.option("--seeds", type=click.IntRange(1), default=20, show_default=True, help="Runs of each searcher.")
@click.option(
    "--noise", is_flag=False, flag_value="0.0031", type=float, default=0.0,
    help="Standard deviation added to accuracies; without a number that of Accel-NASBench's trainings, 0.0031.",
)  # fmt: skip
@click.option("--strategies", help="Which, separated by commas; without it all of ours and other libraries'.")
@click.option("--reference", help="A preset or spec file that is to be beaten; without it the base of the space.")
@click.option("--workers", type=click.IntRange(1, 256), help="Runs at a time; without it one a core.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A directory, new or to be carried on.")
@SET
@_JSON
def strategies(
    strategies: str | None,
    evaluations: int,
    seeds: int,
    reference: str | None,
    workers: int | None,
    out: Path,
    settings: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Regret over evaluations of each search strategy: bench.md, bench.json, regret.svg and .png in --out."""
    from phinas.benching import bench_strategies, require_used

    if options["evaluator"] == "proxy":
        raise InputError("--evaluator: proxy trains networks; name accel-nasbench:PATH or your own package.module:function")
    given = {f"search.{name}": value for name, value in options.items() if value is not None} | {"search.trials": evaluations}
    chosen = {} if strategies is None else {"searchers": [name.strip() for name in strategies.split(",")]}
    config = config_of(None, settings, given, quick=False)
    require_used(settings_of(settings))
    facts = bench_strategies(
        config.search, out=out, seeds=seeds, reference=reference, workers=workers, quiet=_quiet(), **chosen
    )
    if as_json:
        _print_json(facts)
        return
    click.echo((out / "bench.md").read_text(encoding="utf-8"), nl=False)


def _tell(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(facts)
        return
    from phinas.summary import sentence

    click.echo(sentence(facts))
    if facts["report"]:
        click.echo(facts["report"])


def _print_json(facts: dict[str, Any]) -> None:
    click.echo(json.dumps(facts, indent=2, allow_nan=False))


def _quiet() -> bool:
    return bool(click.get_current_context().find_root().params["quiet"])


def main(arguments: list[str] | None = None) -> None:
    """The `phinas` command: exits with the code of experiment/errors.py."""
    sys.path.append(str(Path.cwd()))  # for a user's own evaluator beside the configuration
    sys.exit(call(cli, sys.argv[1:] if arguments is None else arguments))
