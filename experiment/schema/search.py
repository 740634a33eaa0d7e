"""The search for a baseline."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from phinas.experiment.schema.fields import (
    FiniteFloat,
    Fraction,
    PositiveFloat,
    PositiveInt,
    Section,
)
from phinas.experiment.schema.recipe import NamedRecipe, Recipe

EXPONENT_ESTIMATION_TRIALS = 24  # drawn at random, to estimate `search.reward_exponent: auto` from


class SearchSection(Section):
    """The search for a baseline."""

    space: str | None = Field(
        default=None,
        min_length=1,
        description="a shipped space or a YAML file; none: the evaluator's own, else small_images",
    )
    resolution: PositiveInt | None = Field(
        default=None, description="pixels of a side that candidates see; none: the space's own"
    )
    strategy: str = Field(
        default="bayesian",
        min_length=1,
        description="bayesian, random, tpe, evolution, hill_climbing, nsga2 or ppo",
    )
    trials: PositiveInt = Field(default=100, description="networks trained")
    reward: Literal["soft", "hard", "absolute", "pareto"] = Field(
        default="soft",
        description="how accuracy and cost make one number; pareto: two aims, and a front of "
        "networks",
    )
    cost: Literal["flops", "params", "activations", "latency"] = Field(
        default="flops",
        description="what the reward weighs accuracy against; latency: ms an inference takes on "
        "this device",
    )
    latency_batch_size: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=1, description="images of an inference that is timed"
    )
    reward_exponent: Annotated[FiniteFloat, Field(le=0)] | Literal["auto"] | None = Field(
        default=None,
        description="w of the reward; none: the paper's; auto: from the slope of the first trials",
    )
    target_cost: PositiveFloat | None = Field(
        default=None, description="T of the reward in units of the cost; none: the base's cost"
    )
    min_flops: PositiveFloat | None = Field(
        default=None, description="gate: cheaper networks are never trained"
    )
    max_flops: PositiveFloat | None = Field(
        default=None, description="gate: dearer networks are never trained"
    )
    evaluator: str = Field(
        default="proxy",
        min_length=1,
        description="proxy, accel-nasbench:PATH, or your own package.module:function",
    )
    noise_std: Fraction = Field(
        default=0.0,
        description="standard deviation added to accuracies that are looked up; of accel-nasbench "
        "0.0031",
    )
    recipe: NamedRecipe = Field(default=Recipe(), description="training of a candidate")
    pruner: Literal["none", "median", "halving", "hyperband"] = Field(
        default="none",
        description="stops trainings of the search that fall behind: Optuna's pruners, "
        "nas/pruning.py",
    )
    max_consecutive_failures: PositiveInt = Field(
        default=10, description="the search stops after so many failed trials in a row"
    )
    finalists: PositiveInt = Field(
        default=4, description="best candidates trained again before one is chosen"
    )
    finalist_seeds: PositiveInt = Field(default=2, description="trainings of a finalist")
    finalist_recipe: NamedRecipe = Field(
        default=Recipe(epochs=20), description="training of a finalist"
    )
    reference: str = Field(
        default="auto",
        min_length=1,
        description="trained beside the finalists: a preset, spec file or timm:NAME; none; auto: "
        "efficientnet_b0 where cheap",
    )

    @model_validator(mode="after")
    def _check_flops_range(self) -> Self:
        if self.min_flops and self.max_flops and self.min_flops > self.max_flops:
            raise ValueError(
                f"min_flops: {self.min_flops:g} is above max_flops {self.max_flops:g}; swap or "
                "widen them"
            )
        return self

    @model_validator(mode="after")
    def _check_pruner(self) -> Self:
        if self.pruner != "none" and self.reward == "pareto":
            raise ValueError(
                f"pruner: {self.pruner} compares one number, reward: pareto has two; set pruner: "
                "none"
            )
        if self.pruner != "none" and self.recipe.epochs == 1:
            raise ValueError(
                f"pruner: {self.pruner} can't save any of the one epoch of search.recipe.epochs; "
                "set pruner: none"
            )
        return self

    @model_validator(mode="after")
    def _check_latency_batch_size(self) -> Self:
        if self.latency_batch_size != 1 and self.cost != "latency":
            raise ValueError(
                f"latency_batch_size: {self.latency_batch_size} is for cost: latency, not "
                f"{self.cost}; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _check_reward(self) -> Self:
        if self.reward == "pareto" and self.target_cost is not None:
            raise ValueError(
                f"target_cost: {self.target_cost:g} has no meaning for a Pareto front; leave it "
                "out, or set max_flops"
            )
        if self.reward_exponent == "auto" and self.reward in ("hard", "absolute"):
            raise ValueError(
                f"reward_exponent: auto fits the soft reward; give the {self.reward} reward a "
                "number of 0 or below"
            )
        if (
            self.reward_exponent == "auto"
            and self.reward == "soft"
            and self.trials < EXPONENT_ESTIMATION_TRIALS
        ):
            raise ValueError(
                f"reward_exponent: auto needs {EXPONENT_ESTIMATION_TRIALS} trials and there "
                f"are {self.trials}; raise trials or give a number"
            )
        return self

    @property
    def directions(self) -> tuple[Literal["maximize", "minimize"], ...]:
        """Which way the values of a recorded trial are to go: its reward up, or accuracy up and
        cost down.
        """
        return ("maximize", "minimize") if self.reward == "pareto" else ("maximize",)
