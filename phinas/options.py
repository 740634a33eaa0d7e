"""The options that commands share, and how they become a configuration."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from phinas.experiment.errors import InputError
from phinas.space.yaml_io import YamlError

_QUICK_CONFIG = Path(__file__).parent / "experiment" / "configs" / "quick.yaml"


class _Number(click.ParamType):  # type: ignore[type-arg]  # click 8.1's takes none
    """A plain number, or one of some keywords."""

    name = "number"

    def __init__(self, *keywords: str) -> None:
        self._keywords = keywords

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self._keywords:
            return value
        try:
            return float(value)
        except ValueError:
            keywords = "".join(f", nor {keyword!r}" for keyword in self._keywords)
            self.fail(f"{value!r} is not a plain number like 3e8 or -0.05{keywords}", param, ctx)


class _NumberList(click.ParamType):  # type: ignore[type-arg]
    """Plain numbers like 200M or 2e8, separated by commas or (see `Command`) by blanks.

    With `allow_text`, a value that is no list of numbers is kept as it is: a path.
    """

    name = "numbers"

    def __init__(self, *, allow_text: bool = False) -> None:
        self._allow_text = allow_text

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        parts = [part.strip() for part in str(value).split(",")]
        if all(_NUMBER.fullmatch(part) for part in parts):
            return [_parse_number(part) for part in parts]
        if not self._allow_text:
            self.fail(f"{value!r} is not a list of numbers like 200M,400M or 2e8", param, ctx)
        return value


NUMBER_LIST = _NumberList()
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)(e[-+]?\d+)?[kMG]?", re.ASCII)
_UNITS = {"k": 1e3, "M": 1e6, "G": 1e9}


def _parse_number(text: str) -> float:
    return float(text[:-1]) * _UNITS[text[-1]] if text[-1] in _UNITS else float(text)


class Command(click.Command):
    """A command whose number lists may be separated by blanks: --flops 200M 400M 800M."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        list_flags = {
            flag
            for option in self.params
            if isinstance(option.type, _NumberList)
            for flag in option.opts
        }
        joined: list[str] = []
        in_list = False
        for argument in args:
            is_number = _NUMBER.fullmatch(argument.removesuffix(",")) is not None
            if in_list and is_number and joined[-1] not in list_flags:
                joined[-1] = f"{joined[-1].removesuffix(',')},{argument}"
                continue
            in_list = argument in list_flags or (in_list and is_number)
            joined.append(argument)
        return super().parse_args(ctx, joined)


Options = dict[str, tuple[str, Any, str]]

_COMMON: Options = {
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
        "bayesian, random, tpe, evolution, hill_climbing, nsga2 or ppo.",
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
    "--reward-exponent": (
        "search.reward_exponent",
        _Number("auto"),
        "Exponent w of the reward: 0 or below, or auto (estimated from the first trials).",
    ),
    "--target-cost": (
        "search.target_cost",
        _Number(),
        "Target cost T of the reward, in units of --cost (FLOPs, parameters, activations, ms).",
    ),
    "--min-flops": ("search.min_flops", float, "Skip networks with fewer FLOPs than this."),
    "--max-flops": ("search.max_flops", float, "Skip networks with more FLOPs than this."),
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
        "proxy (trainings), synthetic (a synthetic accuracy model), or your own "
        "package.module:function.",
    ),
    "--constraint": (
        "scaling.constraint",
        str,
        "measured FLOPs, or the paper's nominal alpha * beta^2 * gamma^2.",
    ),
    "--flops-multiple": (
        "scaling.flops_multiple",
        _Number(),
        "FLOPs at phi = 1, as a multiple of the baseline's (default 2).",
    ),
    "--tolerance": (
        "scaling.tolerance",
        _Number(),
        "How far from it, relatively, measured FLOPs may be.",
    ),
    "--grid-phi": (
        "scaling.grid_phi",
        _Number(),
        "phi at which grid members are compared (default 1). Larger values enlarge differences.",
    ),
    "--grid-step": ("scaling.grid_step", _Number(), "Step of the grid of alpha, beta and gamma."),
    "--rounding": ("scaling.rounding", str, "Of depths: ceil (the paper's), round or balanced."),
    "--max-grid-members": (
        "scaling.max_grid_members",
        int,
        "Maximum number of grid members in the race.",
    ),
    "--seeds": ("scaling.seeds", int, "Trainings of each at most, the same seeds for all."),
    "--recipe": ("scaling.recipe", str, "Of their trainings: quick, proxy, validate or full."),
    "--max-budget-fraction": (
        "scaling.max_budget_fraction",
        _Number(),
        "Maximum fraction of the full-grid training budget (default 0.4; 1 disables early "
        "elimination).",
    ),
    "--epochs": ("scaling.recipe.epochs", int, "Passes over the images of a full training."),
    "--strategy": (
        "scaling.strategy",
        str,
        "grid, random or tpe: which race, where the grid has more than --max-grid-members.",
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
        _NumberList(allow_text=True),
        "1.2 1.1 1.15, or another run's: not searched, taken.",
    ),
    "--flops": (
        "scaling.flops",
        NUMBER_LIST,
        "The family by budgets, 200M 400M 800M, instead of by phi.",
    ),
    "--params": ("scaling.params", NUMBER_LIST, "The same of parameters."),
    "--latency-ms": (
        "scaling.latency_ms",
        NUMBER_LIST,
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
    help="Any key of the configuration, e.g. scaling.max_grid_members=20.",
)


def config_options(*groups: Options) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options that make a configuration: of these groups, and those that every run has."""

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        options: Options = {}
        for group in (_COMMON, *groups):
            options |= group
        for flags, (key, value_type, text) in reversed(options.items()):
            command = click.option(
                *flags.split(", "), key.replace(".", "__"), type=value_type, help=f"{text} [{key}]"
            )(command)
        deterministic_help = "The same bits run to run on one device."
        command = click.option(
            "--deterministic",
            "run__deterministic",
            is_flag=True,
            default=None,
            help=deterministic_help,
        )(command)
        upsample_help = "Networks may see images enlarged."
        command = click.option(
            "--upsample", "data__upsample", is_flag=True, default=None, help=upsample_help
        )(command)
        skip_help = "Leave unreadable images out and count them."
        command = click.option(
            "--skip-bad-images", "data__skip_bad_images", is_flag=True, default=None, help=skip_help
        )(command)
        return SET(command)

    return wrap


def build_config(
    path: Path | None,
    settings: tuple[str, ...],
    options: dict[str, Any],
    *,
    use_quick_config: bool,
    allow_no_data: bool = False,
) -> Any:
    """The configuration of a command: its file, then options, then --set.

    Args:
        use_quick_config: Use the quick start on digits if neither file nor --data is there.
        allow_no_data: Accept a configuration without images.
    """
    from phinas.experiment.schema.config import load_config, merge_config

    changes = {
        name.replace("__", "."): value for name, value in options.items() if value is not None
    } | parse_settings(settings)
    if path is None and use_quick_config and "data.source" not in changes:
        path = _QUICK_CONFIG
    needs_images = changes.get("search.evaluator", "proxy") == "proxy" and not allow_no_data
    if path is None and "data.source" not in changes and needs_images:
        raise InputError(
            "--data: missing; name the images (digits, or a path), or give a configuration file"
        )
    base = load_config(path).model_dump() if path else {}
    return merge_config(
        base, changes, source=str(path) if path and not changes else "configuration"
    )


def updated_config(
    directory: Path, settings: tuple[str, ...], options: dict[str, Any] | None = None
) -> Any:
    """The configuration of a run with options and --set applied."""
    from phinas.experiment.run_dir import RunDir
    from phinas.experiment.schema.config import merge_config
    from phinas.session import read_config

    changes = {
        name.replace("__", "."): value
        for name, value in (options or {}).items()
        if value is not None
    }
    return merge_config(
        read_config(RunDir(directory)).model_dump(),
        changes | parse_settings(settings),
        source=str(directory),
    )


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    changes = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {setting}: write it as KEY=VALUE, e.g. --set search.trials=50")
        changes[key.strip()] = _parse_value(text)
    return changes


def _parse_value(text: str) -> Any:
    from phinas.space.yaml_io import parse_yaml

    try:
        return parse_yaml(text)
    except YamlError:
        return text
