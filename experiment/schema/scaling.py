"""The search for the scaling coefficients alpha, beta and gamma, and the family."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from phinas.experiment.schema.fields import (
    Count,
    FiniteFloat,
    NonEmptyText,
    PositiveFloat,
    Section,
    invalid,
    option,
)
from phinas.experiment.schema.recipe import RECIPE_VALUES, NamedRecipe, Recipe

DepthRounding = Literal["ceil", "round", "balanced"]

_COEFFICIENT_VALUES = (
    "three numbers from 1 to 10 (alpha, beta, gamma), or the path of another run or of its "
    "coefficients.yaml"
)


def _check_factor(value: float) -> float:
    if value < 1:
        raise ValueError(
            "is below 1: compound scaling only enlarges the baseline (arXiv:1905.11946, eq. 3); "
            "use 1.0 or more"
        )
    if value > 10:
        raise ValueError("is above 10: larger steps are made by phi; use 10.0 or less")
    return value


def _check_coefficients(value: Any) -> Any:
    """Three numbers, a path, or None: checked before the type, for one message instead of one for
    each type.
    """
    if value is None or isinstance(value, dict) or (isinstance(value, str) and value.strip()):
        return value  # a mapping is refused for its type
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError(f"is not a set of coefficients; use {_COEFFICIENT_VALUES}")
    for number in value:
        if (
            isinstance(number, bool)
            or not isinstance(number, int | float)
            or not math.isfinite(number)
        ):
            raise ValueError(f"has {number!r}, not a finite number; use {_COEFFICIENT_VALUES}")
        if number < 1:
            raise ValueError(
                f"has {number:g}, below 1: compound scaling only enlarges (arXiv:1905.11946, eq. "
                "3); use 1 or more"
            )
        if number > 10:
            raise ValueError(
                f"has {number:g}, above 10: larger steps are made by phi; use 10 or less"
            )
    if max(value) == 1:
        raise ValueError(
            "scales nothing: the network is the baseline for every phi; use at least one number "
            "above 1"
        )
    return [float(number) for number in value]


ScaleFactor = Annotated[FiniteFloat, AfterValidator(_check_factor)]
FactorRange = Annotated[list[ScaleFactor], Field(min_length=2, max_length=2)]
CoefficientsOption = Annotated[list[float] | str | None, BeforeValidator(_check_coefficients)]
GridStep = Annotated[FiniteFloat, Field(ge=0.001, le=1)]
GridSteps = Annotated[list[GridStep], Field(min_length=3, max_length=3)]

# Depth and width alone, rounded, reach fewer FLOPs than with the resolution: within 3% the grids of
# small_images have 0 to 5 networks, within 10% 6 to 17. The race corrects scores for FLOPs.
DEFAULT_TOLERANCE, TOLERANCE_WITHOUT_RESOLUTION = 0.03, 0.1
DEFAULT_GAMMA = [1.0, 1.5]
# Coefficients that are found at phi 2 lose a third less at phi 3 than those found at phi 1
# (benchmarks/racing.md).
DEFAULT_GRID_PHI = 2.0
_RANGE_VALUES = "two numbers from 1 to 10, the smaller first"
DEFAULT_PHIS = [0.5, 1.0, 2.0, 3.5, 5.0, 6.0, 7.0]
BUDGET_KEYS = ("flops", "params", "latency_ms")


class ScalingSection(Section):
    """The search for alpha, beta and gamma, and the family."""

    baseline: str | None = option(
        "Network to scale, instead of searching for one.",
        default=None,
        values="a preset such as efficientnet_b0, a spec file, timm:NAME (also ConvNeXt, RegNet, "
        "ResNet, ViT, DeiT and EfficientViT, if timm is installed), RUN:NAME for a network of a "
        "run, or package.module:build or path/to/file.py:build for a function that builds a "
        "PyTorch network",
        default_text="the result of the search",
    )
    coefficients: CoefficientsOption = option(
        "Scaling coefficients to use, instead of searching for them.",
        default=None,
        values=_COEFFICIENT_VALUES,
        default_text="the result of the search for coefficients",
    )
    constraint: Literal["measured", "nominal"] = option(
        "What scaling.flops_multiple constrains. measured: the FLOPs of the scaled network. "
        "nominal: alpha * beta^2 * gamma^2, as in the EfficientNet paper.",
        default="measured",
    )
    flops_multiple: Annotated[FiniteFloat, Field(gt=1, le=100)] = option(
        "FLOPs of a network at phi = 1, as a multiple of the baseline's.", default=2.0
    )
    grid_phi: Annotated[FiniteFloat, Field(gt=0, le=4)] | None = option(
        "Value of phi at which the networks of the grid are compared. A larger value enlarges the "
        "differences between them and takes longer.",
        default=None,
        default_text=f"{DEFAULT_GRID_PHI:g}, or 1 if scaling.constraint is nominal",
    )
    tolerance: Annotated[FiniteFloat, Field(gt=0, le=0.5)] | None = option(
        "Maximum relative deviation of a network's FLOPs from scaling.flops_multiple, if "
        "scaling.constraint is measured.",
        default=None,
        default_text=f"{DEFAULT_TOLERANCE:g}, or {TOLERANCE_WITHOUT_RESOLUTION:g} where the "
        "images leave no room to scale the resolution",
    )
    nominal_tolerance: Annotated[FiniteFloat, Field(gt=0, le=1)] = option(
        "Maximum absolute deviation of alpha * beta^2 * gamma^2 from scaling.flops_multiple, if "
        "scaling.constraint is nominal.",
        default=0.1,
    )
    alpha: FactorRange = option(
        "Range of the depth coefficient.", default=[1.0, 2.0], values=_RANGE_VALUES
    )
    beta: FactorRange = option(
        "Range of the width coefficient.", default=[1.0, 1.5], values=_RANGE_VALUES
    )
    gamma: FactorRange | None = option(
        "Range of the resolution coefficient.",
        default=None,
        values=_RANGE_VALUES,
        default_text="[1, 1.5], or [1, 1] where the images are not larger than the baseline's "
        "resolution",
    )
    grid_step: GridStep | GridSteps = option(
        "Step of the grid of alpha, beta and gamma, or a list with the step of each. If "
        "scaling.constraint is measured, gamma follows from the other two and has no step.",
        default=0.05,
    )
    max_resolution: Annotated[int, Field(ge=1, le=16_384)] | None = option(
        "Highest resolution of the family and of the grid. Where gamma^phi exceeds it, depth and "
        "width add the FLOPs that the resolution does not add.",
        default=None,
        unit="px",
        default_text="the median size of the images, or with data.upsample the highest resolution "
        "that scaling.gamma allows for the grid; none without images",
    )
    divisor: Annotated[int, Field(ge=1, le=64)] = option(
        "Round widths to multiples of this number.", default=8, unit="channels"
    )
    rounding: DepthRounding | None = option(
        "How depths are rounded. ceil rounds up, as in the EfficientNet paper. round takes the "
        "nearest number for each stage. balanced keeps the total depth nearest to the exact one.",
        default=None,
        default_text="balanced for coefficients that are searched with scaling.constraint: "
        "measured, that of the file or run for scaling.coefficients, else ceil",
    )
    max_grid_members: Annotated[int, Field(ge=2, le=10_000)] = option(
        "Maximum number of networks of the grid that are trained.", default=12
    )
    evaluator: NonEmptyText = option(
        "What scores a network of the grid. proxy trains it, and synthetic takes the score from a "
        "synthetic accuracy model, without training.",
        default="proxy",
        values="proxy, synthetic or package.module:function",
    )
    strategy: Literal["grid", "random", "tpe"] = option(
        "How networks are selected if the grid has more than scaling.max_grid_members. grid "
        "selects networks that are far apart in the grid, random selects at random, and tpe "
        "samples by TPE with short trainings.",
        default="grid",
    )
    max_budget_fraction: Annotated[FiniteFloat, Field(gt=0, le=1)] = option(
        "Maximum fraction of the full-grid training budget, which trains all networks with all "
        "seeds. 1 disables early elimination.",
        default=0.4,
    )
    seeds: Annotated[int, Field(ge=2, le=100)] = option(
        "Maximum number of trainings of each network of the grid, each with another seed. All "
        "networks have the same seeds.",
        default=5,
    )
    recipe: NamedRecipe = option(
        "Recipe for the training of a network of the grid.",
        default=Recipe(),
        values=RECIPE_VALUES,
    )
    phi: Annotated[
        list[Annotated[FiniteFloat, Field(ge=-20, le=20)]],
        Field(min_length=1),
    ] = option(
        "Values of phi, one for each member of the family. A member scales the baseline's depth by "
        "alpha^phi, its width by beta^phi and its resolution by gamma^phi, at most to "
        "scaling.max_resolution. A negative value makes a member smaller than the baseline.",
        default=DEFAULT_PHIS,
    )
    flops: list[Count] = option(
        "Make the family by FLOPs budgets instead of phi. Each member is the largest network "
        "within its budget.",
        default=[],
        unit="FLOPs",
    )
    params: list[Count] = option(
        "Make the family by parameter budgets instead of phi. Each member is the largest network "
        "within its budget.",
        default=[],
        unit="parameters",
    )
    latency_ms: list[PositiveFloat] = option(
        "Make the family by latency budgets instead of phi, measured on run.device. Each member "
        "is the largest network within its budget.",
        default=[],
        unit="ms",
    )

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for name, (low, high) in self.ranges.items():
            if low > high:
                raise invalid(
                    name, f"[{low:g}, {high:g}] is decreasing; write the smaller bound first"
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
            raise invalid(
                ladders[1],
                f"cannot be combined with scaling.{ladders[0]}; set only one of "
                + ", ".join(f"scaling.{name}" for name in ("phi", *BUDGET_KEYS)),
            )
        for name in ladders:
            if sorted(set(getattr(self, name))) != getattr(self, name):
                raise invalid(
                    name,
                    f"{getattr(self, name)} is not strictly increasing; write each number once, "
                    "the smallest first",
                )
        return self

    @model_validator(mode="after")
    def _check_tolerance(self) -> Self:
        unused, used = "nominal_tolerance", "tolerance"
        if self.constraint == "nominal":
            unused, used = used, unused
        if getattr(self, unused) != type(self).model_fields[unused].default:
            raise invalid(
                unused,
                f"{getattr(self, unused):g} has no effect with scaling.constraint: "
                f"{self.constraint}; set scaling.{used}",
            )
        return self

    @property
    def depth_rounding(self) -> DepthRounding:
        """How depths are rounded, unless scaling.coefficients name a file or run that says so."""
        if self.rounding is not None:
            return self.rounding
        is_searched = self.coefficients is None and self.constraint == "measured"
        return "balanced" if is_searched else "ceil"

    @property
    def compared_phi(self) -> float:
        """Value of phi at which the networks of the grid are compared."""
        if self.grid_phi is not None:
            return self.grid_phi
        return 1.0 if self.constraint == "nominal" else DEFAULT_GRID_PHI

    @model_validator(mode="after")
    def _check_grid_phi(self) -> Self:
        if self.constraint == "nominal" and self.grid_phi not in (None, 1):
            raise invalid(
                "grid_phi",
                f"{self.grid_phi:g} is not available with scaling.constraint: nominal, because the "
                "paper's grid is at phi = 1; leave it out",
            )
        return self

    @model_validator(mode="after")
    def _check_grid_steps(self) -> Self:
        for (name, (low, high)), step in zip(self.ranges.items(), self.grid_steps, strict=True):
            is_solved = name == "gamma" and self.constraint == "measured"
            if low < high < low + step - 1e-9 and not is_solved:
                raise invalid(
                    "grid_step",
                    f"{step:g} is larger than {name}'s range [{low:g}, {high:g}], so only {low:g} "
                    f"is tried; lower it, or set scaling.{name}: [{low:g}, {low:g}] to keep "
                    f"{name} constant",
                )
        return self

    @property
    def ranges(self) -> dict[str, list[float]]:
        """The ranges of alpha, beta and gamma."""
        return {"alpha": self.alpha, "beta": self.beta, "gamma": self.gamma or DEFAULT_GAMMA}

    @property
    def max_deviation(self) -> float:
        """The tolerance, or its default where the resolution can be scaled."""
        return DEFAULT_TOLERANCE if self.tolerance is None else self.tolerance

    @property
    def grid_steps(self) -> tuple[float, float, float]:
        """The steps of alpha, beta and gamma."""
        return (
            (self.grid_step[0], self.grid_step[1], self.grid_step[2])
            if isinstance(self.grid_step, list)
            else (self.grid_step,) * 3
        )
