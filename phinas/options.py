"""The options that verbs share, and how they become a configuration."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from phinas.experiment.errors import InputError
from phinas.space.yaml_io import YamlError

_QUICK = Path(__file__).parent / "experiment" / "configs" / "quick.yaml"


class _Number(click.ParamType):  # type: ignore[type-arg]  # click 8.1's takes none
    """A plain number, or one of some words."""

    name = "number"

    def __init__(self, *words: str) -> None:
        self._words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self._words:
            return value
        try:
            return float(value)
        except ValueError:
            words = "".join(f", nor {word!r}" for word in self._words)
            self.fail(f"{value!r} is not a plain number like 3e8 or -0.05{words}", param, ctx)


class _Numbers(click.ParamType):  # type: ignore[type-arg]
    """Plain numbers like 200M or 2e8, separated by commas or (see `Verb`) by blanks. words: or one
    word, a path.
    """

    name = "numbers"

    def __init__(self, *, words: bool = False) -> None:
        self._words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        parts = [part.strip() for part in str(value).split(",")]
        if all(_NUMBER.fullmatch(part) for part in parts):
            return [_number(part) for part in parts]
        if not self._words:
            self.fail(f"{value!r} is not a list of numbers like 200M,400M or 2e8", param, ctx)
        return value


NUMBERS = _Numbers()
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)(e[-+]?\d+)?[kMG]?", re.ASCII)
_UNITS = {"k": 1e3, "M": 1e6, "G": 1e9}


def _number(text: str) -> float:
    return float(text[:-1]) * _UNITS[text[-1]] if text[-1] in _UNITS else float(text)


class Verb(click.Command):
    """A verb whose options of several numbers may be written with blanks: --flops 200M 400M
    800M.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        lists = {
            flag
            for option in self.params
            if isinstance(option.type, _Numbers)
            for flag in option.opts
        }
        joined: list[str] = []
        of_list = False
        for argument in args:
            numeric = _NUMBER.fullmatch(argument.removesuffix(",")) is not None
            if of_list and numeric and joined[-1] not in lists:
                joined[-1] = f"{joined[-1].removesuffix(',')},{argument}"
                continue
            of_list = argument in lists or (of_list and numeric)
            joined.append(argument)
        return super().parse_args(ctx, joined)


Options = dict[str, tuple[str, Any, str]]

_ALWAYS: Options = {
    "--data": (
        "data.source",
        str,
        "digits, a path (class folders, Parquet, an .npz), hf:NAME or torchvision:NAME.",
    ),
    "--group-by": (
        "data.group_by",
        str,
        "Column, key, or regular expression over paths: a group is in one split.",
    ),
    "--resolution": ("search.resolution", int, "Pixels of a side that candidates see."),
    "--seed": ("run.seed", int, "Decides splits, proposals, weights and data order."),
    "--device": ("run.device", str, "auto, cpu, cuda, cuda:N or mps."),
    "--workers": ("run.workers", int, "Trainings at a time."),
    "--trials-per-gpu": (
        "run.trials_per_gpu",
        int,
        "Trainings that share a GPU; small networks leave it idle.",
    ),
    "--storage": ("run.storage", str, "URL of an Optuna RDB storage instead of study.db."),
}
SEARCH: Options = {
    "--space": (
        "search.space",
        str,
        "A shipped space (tiny, small_images, mnasnet, ...), a YAML file, or your own "
        "package.module:NAME.",
    ),
    "--strategy": (
        "search.strategy",
        str,
        "predictor, random, tpe, evolution, local, nsga2 or ppo.",
    ),
    "--evaluator": (
        "search.evaluator",
        str,
        "proxy, accel-nasbench:PATH, or your own package.module:function.",
    ),
    "--trials": ("search.trials", int, "Networks trained in the search."),
    "--recipe": ("search.recipe", str, "Of their trainings: quick, proxy, validate or full."),
    "--epochs": ("search.recipe.epochs", int, "Passes over the images for each of them."),
    "--pruner": (
        "search.pruner",
        str,
        "none, median, halving or hyperband: stops trainings that fall behind.",
    ),
    "--reward": (
        "search.reward",
        str,
        "soft, hard, absolute, or pareto: a front instead of one number.",
    ),
    "--cost": (
        "search.cost",
        str,
        "flops, params, activations, or latency on this device, measured.",
    ),
    "--weight, --w": (
        "search.weight",
        _Number("auto"),
        "w of the reward, 0 or below, or auto: from the first trials.",
    ),
    "--target": (
        "search.target",
        _Number(),
        "T of the reward: FLOPs, parameters, activations or ms, as --cost has it.",
    ),
    "--min-flops": ("search.min_flops", float, "Cheaper networks are never trained."),
    "--max-flops": ("search.max_flops", float, "Dearer networks are never trained."),
    "--reference": (
        "search.reference",
        str,
        "Trained beside the finalists: a preset, spec file or timm:NAME; none; auto.",
    ),
}
SCALING: Options = {
    "--evaluator": (
        "scaling.evaluator",
        str,
        "proxy (trainings), law (the stated one), or your own package.module:function.",
    ),
    "--constraint": (
        "scaling.constraint",
        str,
        "measured FLOPs, or the paper's nominal alpha * beta^2 * gamma^2.",
    ),
    "--multiple": ("scaling.multiple", _Number(), "FLOPs over the baseline's at phi = 1."),
    "--tolerance": (
        "scaling.tolerance",
        _Number(),
        "How far from it, relatively, measured FLOPs may be.",
    ),
    "--phi": (
        "scaling.compare_at",
        _Number(),
        "Where networks are compared: small steps are hard to tell apart, 2 is larger.",
    ),
    "--step": ("scaling.step", _Number(), "Of the grid of alpha, beta and gamma."),
    "--rounding": ("scaling.rounding", str, "Of depths: ceil (the paper's), round or balanced."),
    "--members": ("scaling.members", int, "Networks of the grid that race."),
    "--seeds": ("scaling.seeds", int, "Trainings of each at most, the same seeds for all."),
    "--recipe": ("scaling.recipe", str, "Of their trainings: quick, proxy, validate or full."),
    "--share": (
        "scaling.share",
        _Number(),
        "Of the epochs of all with all seeds, the most that is spent; 1: all are trained.",
    ),
    "--epochs": ("scaling.recipe.epochs", int, "Passes over the images of a full training."),
    "--strategy": (
        "scaling.strategy",
        str,
        "grid, random or tpe: which race, where the grid has more than --members.",
    ),
}
BASELINE: Options = {
    "--baseline": (
        "scaling.baseline",
        str,
        "A preset, spec file or timm:NAME to scale instead of searching one.",
    ),
}
FAMILY: Options = {
    "--coefficients": (
        "scaling.coefficients",
        _Numbers(words=True),
        "1.2 1.1 1.15, or another run's: not searched, taken.",
    ),
    "--flops": (
        "scaling.flops",
        NUMBERS,
        "The family by budgets, 200M 400M 800M, instead of by phi.",
    ),
    "--params": ("scaling.params", NUMBERS, "The same of parameters."),
    "--latency-ms": (
        "scaling.latency_ms",
        NUMBERS,
        "The same of milliseconds an image takes on this device.",
    ),
}

OUT = click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The run directory, new or to be carried on.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
DIRECTORY = click.argument("directory", type=click.Path(path_type=Path))
CONFIG = click.argument("config", required=False, type=click.Path(path_type=Path))
SET = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any key of the configuration, e.g. scaling.members=20.",
)


def configured(*groups: Options) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options that make a configuration: of these groups, and those that every run has."""

    def wrap(verb: Callable[..., None]) -> Callable[..., None]:
        shown: Options = {}
        for group in (_ALWAYS, *groups):
            shown |= group
        for flag, (path, kind, text) in reversed(shown.items()):
            verb = click.option(
                *flag.split(", "), path.replace(".", "__"), type=kind, help=f"{text} [{path}]"
            )(verb)
        same = "The same bits run to run on one device."
        verb = click.option(
            "--deterministic", "run__deterministic", is_flag=True, default=None, help=same
        )(verb)
        enlarge = "Networks may see images enlarged."
        verb = click.option(
            "--upsample", "data__upsample", is_flag=True, default=None, help=enlarge
        )(verb)
        skip = "Leave unreadable images out and count them."
        verb = click.option(
            "--skip-bad-images", "data__skip_bad_images", is_flag=True, default=None, help=skip
        )(verb)
        return SET(verb)

    return wrap


def config_of(
    path: Path | None,
    settings: tuple[str, ...],
    options: dict[str, Any],
    *,
    quick: bool,
    imageless: bool = False,
) -> Any:
    """The configuration of a call: file (or the quick start, or the defaults), then options, then
    --set. imageless: there may be none."""
    from phinas.experiment.schema.config import load_config, merged

    changes = {
        name.replace("__", "."): value for name, value in options.items() if value is not None
    } | settings_of(settings)
    if path is None and quick and "data.source" not in changes:
        path = _QUICK
    needs_images = changes.get("search.evaluator", "proxy") == "proxy" and not imageless
    if path is None and "data.source" not in changes and needs_images:
        raise InputError(
            "--data: missing; name the images (digits, or a path), or give a configuration file"
        )
    base = load_config(path).model_dump() if path else {}
    return merged(base, changes, where=str(path) if path and not changes else "configuration")


def changed(
    directory: Path, settings: tuple[str, ...], options: dict[str, Any] | None = None
) -> Any:
    """The configuration of a run with options and --set applied."""
    from phinas.experiment.run_dir import RunDir
    from phinas.experiment.schema.config import merged
    from phinas.session import read_config

    given = {
        name.replace("__", "."): value
        for name, value in (options or {}).items()
        if value is not None
    }
    return merged(
        read_config(RunDir(directory)).model_dump(),
        given | settings_of(settings),
        where=str(directory),
    )


def settings_of(settings: tuple[str, ...]) -> dict[str, Any]:
    changes = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {setting}: write it as KEY=VALUE, e.g. --set search.trials=50")
        changes[key.strip()] = _value(text)
    return changes


def _value(text: str) -> Any:
    from phinas.space.yaml_io import parse_yaml

    try:
        return parse_yaml(text)
    except YamlError:
        return text
