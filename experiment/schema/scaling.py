"""The search for alpha, beta, gamma, the family, and its validation."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from phinas.experiment.schema.fields import FiniteFloat, PositiveFloat, PositiveInt, Section
from phinas.experiment.schema.recipe import NamedRecipe, Recipe


def _check_factor(value: float) -> float:
    if value < 1:
        raise ValueError(
            "is below 1: compound scaling only enlarges the baseline (arXiv:1905.11946, eq. 3); "
            "begin at 1.0"
        )
    if value > 10:
        raise ValueError(
            "is above 10: a grid is of small steps, phi makes the large ones; write at most 10.0"
        )
    return value


def _check_coefficients(value: Any) -> Any:
    """Numbers, the path of a run or file, or none: checked whole, so that there is one message and
    not one a kind.
    """
    advice = (
        "write three numbers, [alpha, beta, gamma], or the path of another run or of its "
        "coefficients.yaml"
    )
    if value is None or isinstance(value, dict) or (isinstance(value, str) and value.strip()):
        return value  # a mapping is refused for its type
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError(f"is none of the ways to give coefficients; {advice}")
    for number in value:
        if (
            isinstance(number, bool)
            or not isinstance(number, int | float)
            or not math.isfinite(number)
        ):
            raise ValueError(f"has {number!r}, which is not a finite number; {advice}")
        if number < 1:
            raise ValueError(
                f"has {number:g}, below 1: compound scaling only enlarges (arXiv:1905.11946, eq. "
                "3); 1 or more"
            )
        if number > 10:
            raise ValueError(
                f"has {number:g}, above 10: phi makes the large steps; write at most 10"
            )
    if max(value) == 1:
        raise ValueError(
            "scales nothing: every phi would mean the baseline; write at least one number above 1"
        )
    return [float(number) for number in value]


def _check_unique(value: list[str]) -> list[str]:
    for index, name in enumerate(value):
        if not name.strip():
            raise ValueError(
                "has an empty name; leave it out, or name depth, width, resolution, paper, a "
                "network or a run"
            )
        if name in value[:index]:
            raise ValueError(f"has {name!r} twice; write each control once")
    return value


ScaleFactor = Annotated[FiniteFloat, AfterValidator(_check_factor)]
CoefficientsOption = Annotated[list[float] | str | None, BeforeValidator(_check_coefficients)]
GridStep = Annotated[FiniteFloat, Field(ge=0.001, le=1)]


DEFAULT_PHIS = [0.5, 1.0, 2.0, 3.5, 5.0, 6.0, 7.0]
BUDGET_KEYS = ("flops", "params", "latency_ms")


class ScalingSection(Section):
    """The search for alpha, beta, gamma, and the family."""

    baseline: str | None = Field(
        default=None, description="a preset or spec file to scale; none: search one"
    )
    coefficients: CoefficientsOption = Field(
        default=None,
        description="three numbers, or another run or its coefficients.yaml: taken, and nothing "
        "is searched",
    )
    constraint: Literal["measured", "nominal"] = Field(
        default="measured",
        description="what `flops_multiple` applies to: measured FLOPs, or "
        "alpha * beta^2 * gamma^2 as in the paper",
    )
    flops_multiple: Annotated[FiniteFloat, Field(gt=1, le=100)] = Field(
        default=2.0, description="FLOPs over the baseline's at phi = 1"
    )
    grid_phi: Annotated[FiniteFloat, Field(gt=0, le=4)] = Field(
        default=1.0,
        description="phi at which networks are compared: small steps are hard to tell apart, 2 "
        "makes larger ones",
    )
    tolerance: Annotated[FiniteFloat, Field(gt=0, le=0.5)] = Field(
        default=0.03,
        description="how far from it, relatively, the measured FLOPs of a member may be",
    )
    nominal_tolerance: Annotated[FiniteFloat, Field(gt=0, le=1)] = Field(
        default=0.1,
        description="how far from it, absolutely, alpha * beta^2 * gamma^2 may be under "
        "`constraint: nominal`",
    )
    alpha: list[ScaleFactor] = Field(
        default=[1.0, 2.0], min_length=2, max_length=2, description="range of depth factors"
    )
    beta: list[ScaleFactor] = Field(
        default=[1.0, 1.5], min_length=2, max_length=2, description="range of width factors"
    )
    gamma: list[ScaleFactor] = Field(
        default=[1.0, 1.5], min_length=2, max_length=2, description="range of resolution factors"
    )
    grid_step: GridStep | Annotated[list[GridStep], Field(min_length=3, max_length=3)] = Field(
        default=0.05,
        description="of the grid; a list: of alpha, beta, gamma. Gamma has one under `nominal`; "
        "else resolution is solved for",
    )
    divisor: Annotated[int, Field(ge=1, le=64)] = Field(
        default=8, description="widths are rounded to multiples of this"
    )
    rounding: Literal["ceil", "round", "balanced"] = Field(
        default="ceil",
        description="of depths; ceil is the paper's; balanced: to the nearest for all stages "
        "together",
    )
    max_grid_members: Annotated[int, Field(ge=2, le=10_000)] = Field(
        default=12, description="train at most this many"
    )
    evaluator: str = Field(
        default="proxy",
        min_length=1,
        description="proxy: trainings; synthetic: a synthetic accuracy model; or your own "
        "package.module:function",
    )
    strategy: Literal["grid", "random", "tpe"] = Field(
        default="grid",
        description="which, where the grid has more: far apart, at random, or by TPE on brief "
        "trainings",
    )
    max_budget_fraction: Annotated[FiniteFloat, Field(gt=0, le=1)] = Field(
        default=0.4,
        description="of the epochs of all members with all seeds, the most that a race spends; 1: "
        "all are trained",
    )
    seeds: Annotated[int, Field(ge=2, le=100)] = Field(
        default=5, description="trainings of a member, the same seeds for all"
    )
    recipe: NamedRecipe = Field(default=Recipe(), description="training of a member")
    phi: list[Annotated[FiniteFloat, Field(ge=-20, le=20)]] = Field(
        default=DEFAULT_PHIS,
        min_length=1,
        description="of B1, B2, ..., below 0 of B-1, ...; the published family follows these",
    )
    flops: list[PositiveFloat] = Field(
        default=[], description="in place of phi: budgets, each of them met by the largest network"
    )
    params: list[PositiveFloat] = Field(default=[], description="the same of parameters")
    latency_ms: list[PositiveFloat] = Field(
        default=[], description="the same of milliseconds an image takes on this device"
    )

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for name in ("alpha", "beta", "gamma"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(
                    f"{name}: [{low:g}, {high:g}] falls; write the smaller bound first"
                )
        return self

    @model_validator(mode="after")
    def _check_ladders(self) -> Self:
        ladders = [
            name
            for name in ("phi", *BUDGET_KEYS)
            if getattr(self, name) != type(self).model_fields[name].default
        ]
        if len(ladders) > 1:
            raise ValueError(
                f"{ladders[1]}: the family is made by {ladders[0]} already; give one of phi, "
                f"{', '.join(BUDGET_KEYS)}"
            )
        for name in ladders:
            if sorted(set(getattr(self, name))) != getattr(self, name):
                raise ValueError(
                    f"{name}: {getattr(self, name)} does not rise strictly; write each once, the "
                    "smallest first"
                )
        return self

    @model_validator(mode="after")
    def _check_tolerance(self) -> Self:
        unused = "tolerance" if self.constraint == "nominal" else "nominal_tolerance"
        if getattr(self, unused) != type(self).model_fields[unused].default:
            setting = "nominal_tolerance" if self.constraint == "nominal" else "tolerance"
            raise ValueError(
                f"{unused}: {getattr(self, unused):g} has no meaning for constraint: "
                f"{self.constraint}; set {setting}"
            )
        return self

    @model_validator(mode="after")
    def _check_grid_phi(self) -> Self:
        if self.constraint == "nominal" and self.grid_phi != 1:
            raise ValueError(
                f"grid_phi: {self.grid_phi:g} is for constraint: measured; the paper's grid "
                "is at phi 1"
            )
        return self

    @model_validator(mode="after")
    def _check_grid_steps(self) -> Self:
        for name, step in zip(("alpha", "beta", "gamma"), self.grid_steps, strict=True):
            low, high = getattr(self, name)
            is_solved = name == "gamma" and self.constraint == "measured"
            if low < high < low + step - 1e-9 and not is_solved:
                advice = (
                    f"lower it, or write {name}: [{low:g}, {low:g}] to leave the dimension alone"
                )
                raise ValueError(
                    f"grid_step: {step:g} is larger than {name}'s range [{low:g}, {high:g}], so "
                    f"only {low:g} is tried; {advice}"
                )
        return self

    @property
    def grid_steps(self) -> tuple[float, float, float]:
        """Of alpha, beta and gamma."""
        return (
            (self.grid_step[0], self.grid_step[1], self.grid_step[2])
            if isinstance(self.grid_step, list)
            else (self.grid_step,) * 3
        )


class ValidationSection(Section):
    """The brief training of the family, and of what it is held against."""

    max_flops_multiple: Annotated[FiniteFloat, Field(ge=1)] = Field(
        default=6.0, description="members up to this many times B0's FLOPs are trained"
    )
    seeds: PositiveInt = Field(default=2, description="trainings of a member")
    recipe: NamedRecipe = Field(default=Recipe(epochs=20), description="training of a member")
    controls: Annotated[list[str], AfterValidator(_check_unique)] = Field(
        default=["depth", "width", "resolution", "paper"],
        description="trained beside the largest member, at its FLOPs: depth, width, resolution "
        "(that alone is scaled), paper "
        "(1.2, 1.1, 1.15), a preset, timm:NAME or spec file as it is, another run or its "
        "coefficients.yaml; []: none",
    )
