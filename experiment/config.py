"""One YAML file for a whole run, one section a stage, strict: an unknown key or a wrong type is an error naming its path.

Every option is one field with one line of meaning. `GROWABLE` lists what a resumed run may raise: budgets, which add work
and change none that is done.
"""

import copy
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from experiment.errors import InputError
from experiment.mistakes import sentences, shown
from space.yaml_text import YamlError, parse_yaml, read_yaml

SCHEMA_VERSION = 1
FIRST_TRIALS = 24  # drawn at random, to estimate `search.weight: auto` from


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", value):
        raise ValueError("is none of auto, cpu, cuda, cuda:0 (or another number), mps")
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("is not a finite number")
    return value


def _factor(value: float) -> float:
    if value < 1:
        raise ValueError("is below 1: compound scaling only enlarges the baseline (arXiv:1905.11946, eq. 3); begin at 1.0")
    if value > 10:
        raise ValueError("is above 10: a grid is of small steps, phi makes the large ones; write at most 10.0")
    return value


Finite = Annotated[float, AfterValidator(_finite)]
Factor = Annotated[Finite, AfterValidator(_factor)]
Positive = Annotated[Finite, Field(gt=0)]
Fraction = Annotated[Finite, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Step = Annotated[Finite, Field(ge=0.001, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class RunSection(_Section):
    """How the run is carried out."""

    seed: int = Field(default=0, ge=0, lt=2**32, description="decides splits, proposals, initial weights and data order")
    device: Annotated[str, AfterValidator(_device)] = Field(default="auto", description="auto: a GPU if there is one")
    workers: int | Literal["auto"] = Field(default="auto", description="trainings at a time; auto: one a core, or one a GPU")
    threads: int | Literal["auto"] = Field(default="auto", description="CPU threads of a training; auto: cores over workers")
    executor: Literal["processes", "inline", "ray"] = Field(
        default="processes", description="inline: in the driver, for debugging; ray: this machine, or RAY_ADDRESS"
    )
    storage: str | None = Field(default=None, description="URL of an Optuna RDB storage; none: study.db in the run directory")
    trial_minutes: Positive = Field(default=60.0, description="a training is ended, and failed, after this long")
    retries: int = Field(default=2, ge=0, le=100, description="a training that failed is begun again so many times, if")
    retry: list[Literal["died", "raised", "hung"]] = Field(
        default=["died"],
        description="it died with its process (`inline` can't survive that), raised an error, hung beyond trial_minutes; a "
        "result that is no accuracy, such as NaN, is never tried again",
    )

    @model_validator(mode="after")
    def _counts_in_range(self) -> Self:
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value != "auto" and not 1 <= value <= 256:
                raise ValueError(f"{name}: {value} is not from 1 to 256, nor auto")
        return self


class DataSection(_Section):
    """The images."""

    source: str = Field(min_length=1, description="digits, or the path of class folders, Parquet file(s), an .npz, or hf:NAME")
    side: Count | None = Field(
        default=None, description="pixels of a side that images are stored at; none: their median, 224 at most"
    )
    upsample: bool = Field(default=False, description="networks may see images enlarged beyond their stored side")
    validation_fraction: Fraction = Field(default=0.2, gt=0, description="of the training images, held out to steer the search")
    test_fraction: Fraction = Field(default=0.2, gt=0, description="of all images, where the data brings no test split")
    train_limit: Count | None = Field(default=None, description="use this many training images at most (drawn evenly by class)")
    validation_limit: Count | None = Field(default=None, description="use this many proxy-validation images at most")
    flip: bool | Literal["auto"] = Field(default="auto", description="mirror images left to right; auto: yes but for digits")
    shift: Fraction = Field(default=0.125, le=0.5, description="shift images by up to this fraction of their side")
    skip_bad_images: bool = Field(
        default=False, description="leave unreadable images out and count them; else they are an error"
    )


class Recipe(_Section):
    """How a network is trained: SGD with Nesterov momentum (or AdamW), linear warm-up, cosine decay to zero.

    Not the paper's RMSProp with 350 epochs: a poor recipe for short runs. Accuracies are not comparable with published ones.
    """

    epochs: Count = Field(default=10, description="passes over the training images")
    batch: Count = Field(default=128, description="images a step")
    optimizer: Literal["sgd", "adamw"] = Field(default="sgd", description="sgd: Nesterov momentum 0.9")
    learning_rate: Positive = Field(default=0.2, description="peak; for sgd per 256 images of a batch, for adamw as it is")
    warmup: Fraction = Field(default=0.2, description="fraction of the steps in which the rate rises from zero")
    weight_decay: Annotated[Finite, Field(ge=0, le=1)] = Field(default=5e-4, description="not applied to norms and biases")
    label_smoothing: Fraction = Field(default=0.1, description="probability mass spread over all classes")


class SearchSection(_Section):
    """The search for a baseline."""

    space: str | None = Field(
        default=None, min_length=1, description="a shipped space or a YAML file; none: the evaluator's own, else small_images"
    )
    resolution: Count | None = Field(default=None, description="pixels of a side that candidates see; none: the space's own")
    strategy: str = Field(
        default="predictor", min_length=1, description="predictor, random, tpe, evolution, local, nsga2 or ppo"
    )
    trials: Count = Field(default=100, description="networks trained")
    reward: Literal["soft", "hard", "absolute", "pareto"] = Field(
        default="soft", description="how accuracy and cost make one number; pareto: two aims, and a front of networks"
    )
    cost: Literal["flops", "params", "activations", "latency"] = Field(
        default="flops", description="what the reward weighs accuracy against; latency: ms an inference takes on this device"
    )
    latency_batch: Annotated[int, Field(ge=1, le=4096)] = Field(default=1, description="images of an inference that is timed")
    weight: Annotated[Finite, Field(le=0)] | Literal["auto"] | None = Field(
        default=None, description="w of the reward; none: the paper's; auto: from the slope of the first trials"
    )
    target: Positive | None = Field(default=None, description="T of the reward in units of the cost; none: the base's cost")
    min_flops: Positive | None = Field(default=None, description="gate: cheaper networks are never trained")
    max_flops: Positive | None = Field(default=None, description="gate: dearer networks are never trained")
    evaluator: str = Field(
        default="proxy", min_length=1, description="proxy, accel-nasbench:PATH, or your own package.module:function"
    )
    noise: Fraction = Field(
        default=0.0, description="standard deviation added to accuracies that are looked up; of accel-nasbench 0.0031"
    )
    recipe: Recipe = Field(default=Recipe(), description="training of a candidate")
    pruner: Literal["none", "median", "halving", "hyperband"] = Field(
        default="none", description="stops trainings of the search that fall behind: Optuna's pruners, nas/pruning.py"
    )
    stop_after_failures: Count = Field(default=10, description="the search stops after so many failed trials in a row")
    finalists: Count = Field(default=4, description="best candidates trained again before one is chosen")
    finalist_seeds: Count = Field(default=2, description="trainings of a finalist")
    finalist_recipe: Recipe = Field(default=Recipe(epochs=20), description="training of a finalist")
    reference: str = Field(
        default="auto",
        min_length=1,
        description="trained beside the finalists: a preset, spec file or timm:NAME; none; auto: efficientnet_b0 where cheap",
    )

    @model_validator(mode="after")
    def _gate_is_open(self) -> Self:
        if self.min_flops and self.max_flops and self.min_flops > self.max_flops:
            raise ValueError(f"min_flops: {self.min_flops:g} is above max_flops {self.max_flops:g}; swap or widen them")
        return self

    @model_validator(mode="after")
    def _something_can_be_pruned(self) -> Self:
        if self.pruner != "none" and self.reward == "pareto":
            raise ValueError(f"pruner: {self.pruner} compares one number, reward: pareto has two; set pruner: none")
        if self.pruner != "none" and self.recipe.epochs == 1:
            raise ValueError(f"pruner: {self.pruner} can't save any of the one epoch of search.recipe.epochs; set pruner: none")
        return self

    @model_validator(mode="after")
    def _batch_is_timed(self) -> Self:
        if self.latency_batch != 1 and self.cost != "latency":
            raise ValueError(f"latency_batch: {self.latency_batch} is for cost: latency, not {self.cost}; leave it out")
        return self

    @model_validator(mode="after")
    def _reward_has_its_own(self) -> Self:
        if self.reward == "pareto" and self.target is not None:
            raise ValueError(f"target: {self.target:g} has no meaning for a Pareto front; leave it out, or set max_flops")
        if self.weight == "auto" and self.reward in ("hard", "absolute"):
            raise ValueError(f"weight: auto fits the soft reward; give the {self.reward} reward a number of 0 or below")
        if self.weight == "auto" and self.reward == "soft" and self.trials < FIRST_TRIALS:
            raise ValueError(
                f"weight: auto needs {FIRST_TRIALS} trials and there are {self.trials}; raise trials or give a number"
            )
        return self

    @property
    def aims(self) -> tuple[Literal["maximize", "minimize"], ...]:
        """Which way the values of a recorded trial are to go: its reward up, or accuracy up and cost down."""
        return ("maximize", "minimize") if self.reward == "pareto" else ("maximize",)


class ScalingSection(_Section):
    """The search for alpha, beta, gamma, and the family."""

    baseline: str | None = Field(default=None, description="a preset or spec file to scale; none: search one")
    constraint: Literal["measured", "nominal"] = Field(
        default="measured", description="what `multiple` is held against: FLOPs, or alpha * beta^2 * gamma^2 as in the paper"
    )
    multiple: Annotated[Finite, Field(gt=1, le=100)] = Field(default=2.0, description="FLOPs over the baseline's at phi = 1")
    tolerance: Annotated[Finite, Field(gt=0, le=0.5)] = Field(
        default=0.03, description="how far from it, relatively, the measured FLOPs of a member may be"
    )
    nominal_tolerance: Annotated[Finite, Field(gt=0, le=1)] = Field(
        default=0.1, description="how far from it, absolutely, alpha * beta^2 * gamma^2 may be under `constraint: nominal`"
    )
    alpha: list[Factor] = Field(default=[1.0, 2.0], min_length=2, max_length=2, description="range of depth factors")
    beta: list[Factor] = Field(default=[1.0, 1.5], min_length=2, max_length=2, description="range of width factors")
    gamma: list[Factor] = Field(default=[1.0, 1.5], min_length=2, max_length=2, description="range of resolution factors")
    step: Step | Annotated[list[Step], Field(min_length=3, max_length=3)] = Field(
        default=0.05,
        description="of the grid; a list: of alpha, beta, gamma. Gamma has one under `nominal`; else resolution is solved for",
    )
    divisor: Annotated[int, Field(ge=1, le=64)] = Field(default=8, description="widths are rounded to multiples of this")
    rounding: Literal["ceil", "round", "balanced"] = Field(
        default="ceil", description="of depths; ceil is the paper's; balanced: to the nearest for all stages together"
    )
    members: Annotated[int, Field(ge=2, le=10_000)] = Field(default=12, description="train at most this many, chosen far apart")
    seeds: Annotated[int, Field(ge=2, le=100)] = Field(default=3, description="trainings of a member, the same seeds for all")
    recipe: Recipe = Field(default=Recipe(), description="training of a member")
    phi: list[Annotated[Finite, Field(gt=0, le=20)]] = Field(
        default=[0.5, 1.0, 2.0, 3.5, 5.0, 6.0, 7.0],
        min_length=1,
        description="of B1, B2, ...; the published family follows these",
    )

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for name in ("alpha", "beta", "gamma"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: [{low:g}, {high:g}] falls; write the smaller bound first")
        if sorted(set(self.phi)) != self.phi:
            raise ValueError(f"phi: {self.phi} does not rise strictly")
        return self

    @model_validator(mode="after")
    def _tolerance_is_of_the_constraint(self) -> Self:
        other = "tolerance" if self.constraint == "nominal" else "nominal_tolerance"
        if getattr(self, other) != type(self).model_fields[other].default:
            own = "nominal_tolerance" if self.constraint == "nominal" else "tolerance"
            raise ValueError(f"{other}: {getattr(self, other):g} has no meaning for constraint: {self.constraint}; set {own}")
        return self

    @model_validator(mode="after")
    def _steps_fit_the_ranges(self) -> Self:
        for name, step in zip(("alpha", "beta", "gamma"), self.steps, strict=True):
            low, high = getattr(self, name)
            solved = name == "gamma" and self.constraint == "measured"
            if low < high < low + step - 1e-9 and not solved:
                remedy = f"lower it, or write {name}: [{low:g}, {low:g}] to leave the dimension alone"
                raise ValueError(
                    f"step: {step:g} is larger than {name}'s range [{low:g}, {high:g}], so only {low:g} is tried; {remedy}"
                )
        return self

    @property
    def steps(self) -> tuple[float, float, float]:
        """Of alpha, beta and gamma."""
        return (self.step[0], self.step[1], self.step[2]) if isinstance(self.step, list) else (self.step,) * 3


class ValidationSection(_Section):
    """The brief training of the family."""

    largest_multiple: Annotated[Finite, Field(ge=1)] = Field(
        default=6.0, description="members up to this many times B0's FLOPs are trained"
    )
    seeds: Count = Field(default=2, description="trainings of a member")
    recipe: Recipe = Field(default=Recipe(epochs=20), description="training of a member")


class Config(_Section):
    """A whole run."""

    version: Literal[1] = Field(default=1, description="of this format")
    name: str = Field(default="run", min_length=1, max_length=80, description="the title of the report")
    run: RunSection = RunSection()
    data: DataSection | None = Field(default=None, description="without it only a search whose evaluator needs no images")
    search: SearchSection = SearchSection()
    scaling: ScalingSection = ScalingSection()
    validation: ValidationSection = ValidationSection()

    @model_validator(mode="after")
    def _has_images(self) -> Self:
        if self.data is None and (self.search.evaluator == "proxy" or self.scaling.baseline is not None):
            raise ValueError("data: missing; a configuration needs at least `data: {source: ...}`")
        return self


GROWABLE = ("search.trials", "validation.largest_multiple", "validation.seeds")
FREE = (
    "name",
    "run.workers",
    "run.threads",
    "run.trial_minutes",
    "run.retries",
    "run.retry",
    "run.device",
    "search.stop_after_failures",
)


def load_config(path: Path) -> Config:
    """The configuration in a YAML file. Raises InputError naming file, key, value and remedy."""
    try:
        data = read_yaml(path)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such configuration file") from None
    except YamlError as error:
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None
    return config_from_dict(data, where=str(path))


def config_from_text(text: str, *, where: str) -> Config:
    try:
        return config_from_dict(parse_yaml(text), where=where)
    except YamlError as error:
        raise InputError(f"{where}: {error}") from None


def config_from_dict(data: object, *, where: str) -> Config:
    """A checked configuration from plain data. Raises InputError with every mistake, one a line."""
    if data is None or data == {}:
        raise InputError(f"{where}: is empty; a configuration needs at least `data: {{source: ...}}`")
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: {shown(data)} is not a mapping of sections")
    version = data.get("version", SCHEMA_VERSION)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(f"{where}: version: {version} is newer than this phinas reads ({SCHEMA_VERSION}); upgrade phinas")
    try:
        return Config.model_validate(dict(data))
    except ValidationError as error:
        raise InputError("\n".join(f"{where}: {mistake}" for mistake in sentences(error, Config))) from None


def flatten(config: Config) -> dict[str, Any]:
    """Dotted path to value, for comparing and for overriding."""

    def walk(data: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        rows: dict[str, Any] = {}
        for key, value in data.items():
            rows |= walk(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
        return rows

    return walk(config.model_dump(), "")


def merged(base: Mapping[str, Any], changes: Mapping[str, Any], *, where: str) -> Config:
    """`base` (plain data) with dotted paths set, checked."""
    data: dict[str, Any] = {}

    def put(path: str, value: object) -> None:
        *sections, key = path.split(".")
        target = data
        for section in sections:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                raise InputError(f"{where}: {path}: {section!r} is a single value and has no keys")
        target[key] = value

    for name, value in base.items():
        data[name] = copy.deepcopy(value)
    for path, value in changes.items():
        put(path, value)
    return config_from_dict(data, where=where)


def check_growth(old: Config, new: Config, *, where: str, untouched: Collection[str] = ()) -> None:
    """Raises InputError listing what differs, unless only budgets grew: a run's results belong to its configuration.

    untouched: sections whose stage has not begun, where nothing is recorded yet that could be belied.
    """
    before, after = flatten(old), flatten(new)
    wrong = []
    for path in before:
        if before[path] == after[path] or path in FREE or path.partition(".")[0] in untouched:
            continue
        if path in GROWABLE and after[path] > before[path]:
            continue
        wrong.append(f"{path} was {before[path]!r} and is now {after[path]!r}")
    if wrong:
        remedy = f"only {', '.join(GROWABLE)} may grow; use a new --out for another configuration"
        raise InputError(f"{where}: " + "; ".join(wrong) + f". {remedy}")
