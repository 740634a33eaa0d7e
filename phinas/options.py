"""The options that verbs share, and how they become a configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from experiment.errors import InputError
from space.yaml_text import YamlError

_QUICK = Path(__file__).parent.parent / "experiment" / "configs" / "quick.yaml"


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


_OVERRIDES: dict[str, tuple[str, Any, str]] = {
    "--data": ("data.source", str, "digits, or a path: class folders, Parquet file(s), an .npz, hf:NAME."),
    "--space": (
        "search.space",
        str,
        "A shipped space (tiny, small_images, mnasnet, ...), a YAML file, or your own package.module:NAME.",
    ),
    "--resolution": ("search.resolution", int, "Pixels of a side that candidates see."),
    "--strategy": ("search.strategy", str, "predictor, random, tpe, evolution, local, nsga2 or ppo."),
    "--evaluator": ("search.evaluator", str, "proxy, accel-nasbench:PATH, or your own package.module:function."),
    "--trials": ("search.trials", int, "Networks trained in the search."),
    "--epochs": ("search.recipe.epochs", int, "Passes over the images for each of them."),
    "--pruner": ("search.pruner", str, "none, median, halving or hyperband: stops trainings that fall behind."),
    "--reward": ("search.reward", str, "soft, hard, absolute, or pareto: a front instead of one number."),
    "--cost": ("search.cost", str, "flops, params, activations, or latency on this device, measured."),
    "--weight, --w": ("search.weight", _Number("auto"), "w of the reward, 0 or below, or auto: from the first trials."),
    "--target": ("search.target", _Number(), "T of the reward: FLOPs, parameters, activations or ms, as --cost has it."),
    "--min-flops": ("search.min_flops", float, "Cheaper networks are never trained."),
    "--max-flops": ("search.max_flops", float, "Dearer networks are never trained."),
    "--reference": ("search.reference", str, "Trained beside the finalists: a preset, spec file or timm:NAME; none; auto."),
    "--seed": ("run.seed", int, "Decides splits, proposals, weights and data order."),
    "--device": ("run.device", str, "auto, cpu, cuda, cuda:N or mps."),
    "--workers": ("run.workers", int, "Trainings at a time."),
    "--storage": ("run.storage", str, "URL of an Optuna RDB storage instead of study.db."),
    "--baseline": ("scaling.baseline", str, "A preset, spec file or timm:NAME to scale instead of searching one."),
}


SET = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any key of the configuration, e.g. scaling.members=20."
)


def configured(verb: Callable[..., None]) -> Callable[..., None]:
    """The options that make a configuration."""
    for flag, (path, kind, text) in reversed(_OVERRIDES.items()):
        verb = click.option(*flag.split(", "), path.replace(".", "__"), type=kind, help=f"{text} [{path}]")(verb)
    verb = click.option("--upsample", "data__upsample", is_flag=True, default=None, help="Networks may see images enlarged.")(
        verb
    )
    skip = "Leave unreadable images out and count them."
    verb = click.option("--skip-bad-images", "data__skip_bad_images", is_flag=True, default=None, help=skip)(verb)
    return SET(verb)


def config_of(
    path: Path | None, settings: tuple[str, ...], options: dict[str, Any], *, quick: bool, imageless: bool = False
) -> Any:
    """The configuration of a call: file (or the quick start, or the defaults), then options, then --set. imageless: what is
    asked needs no images."""
    from experiment.config import load_config, merged

    changes = {name.replace("__", "."): value for name, value in options.items() if value is not None} | settings_of(settings)
    if path is None and quick and "data.source" not in changes:
        path = _QUICK
    needs_images = changes.get("search.evaluator", "proxy") == "proxy" and not imageless
    if path is None and "data.source" not in changes and needs_images:
        raise InputError("--data: missing; name the images (digits, or a path), or give a configuration file")
    base = load_config(path).model_dump() if path else {}
    return merged(base, changes, where=str(path) if path and not changes else "configuration")


def changed(directory: Path, settings: tuple[str, ...]) -> Any:
    """The configuration of a run with --set applied."""
    from experiment.config import merged
    from experiment.rundir import RunDir
    from phinas.session import read_config

    return merged(read_config(RunDir(directory)).model_dump(), settings_of(settings), where=str(directory))


def settings_of(settings: tuple[str, ...]) -> dict[str, Any]:
    changes = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {setting}: write it as KEY=VALUE, e.g. --set search.trials=50")
        changes[key.strip()] = _value(text)
    return changes


def _value(text: str) -> Any:
    from space.yaml_text import parse_yaml

    try:
        return parse_yaml(text)
    except YamlError:
        return text
