"""The search for a baseline network."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from phinas.experiment.schema.fields import (
    Count,
    FiniteFloat,
    Fraction,
    NonEmptyText,
    PositiveInt,
    Section,
    invalid,
    option,
)
from phinas.experiment.schema.recipe import RECIPE_VALUES, VALIDATE, NamedRecipe, Recipe

# Random trials from which `search.reward_exponent: auto` is estimated.
EXPONENT_ESTIMATION_TRIALS = 24
# Networks with a score after which the proxy check begins.
PROXY_CHECK_NETWORKS = 8
# Expected rank correlation (Kendall's tau) below which it warns: signal and noise are equal.
MIN_RANK_CORRELATION = 0.5


class SearchSection(Section):
    """The search for a baseline network."""

    space: NonEmptyText | None = option(
        "Search space.",
        default=None,
        values="{spaces}, a YAML file or package.module:NAME",
        default_text="the space of the evaluator where it has one, otherwise small_images",
    )
    resolution: PositiveInt | None = option(
        "Input resolution of the candidates, or of scaling.baseline.",
        default=None,
        unit="px",
        default_text="that of the search space or of the baseline, at most the image size",
    )
    strategy: NonEmptyText = option(
        "Search strategy, which proposes the networks.",
        default="bayesian",
        values="{strategies} or package.module:Sampler",
    )
    learn_from: list[NonEmptyText] = option(
        "Run directories of earlier searches of the same space, such as with other images, another "
        "recipe or another resolution. The strategy bayesian learns from their trials which "
        "networks are promising, and from the first trials of this search how much that tells.",
        default=[],
        values="a list of run directories",
    )
    trials: PositiveInt = option(
        "Number of networks that the search evaluates. A strategy that pauses trainings, such as "
        "asha, evaluates more networks with the same total number of epochs.",
        default=100,
        on_resume="may grow",
    )
    reward: Literal["soft", "hard", "absolute", "accuracy", "pareto"] = option(
        "How score and cost are combined into the objective. soft and hard are MnasNet's two "
        "rewards, and absolute is TuNAS's. accuracy is the score alone, within search.min_flops "
        "and search.max_flops. pareto searches for the Pareto front of score and cost.",
        default="soft",
    )
    cost: Literal["flops", "params", "activations", "latency"] = option(
        "Cost of a network in the reward. latency is measured on run.device, in ms for a batch of "
        "search.latency_batch_size images.",
        default="flops",
    )
    latency_batch_size: Annotated[int, Field(ge=1, le=4096)] = option(
        "Batch size of a latency measurement.", default=1, unit="images"
    )
    reward_exponent: Annotated[FiniteFloat, Field(le=0)] | Literal["auto"] | None = option(
        "Exponent w of the reward, the weight of the cost. auto estimates it from the first "
        f"{EXPONENT_ESTIMATION_TRIALS} trials.",
        default=None,
        default_text="the published value for search.reward",
    )
    target_cost: Count | None = option(
        "Target cost T of the reward, in the unit of search.cost.",
        default=None,
        unit="FLOPs, parameters, activations or ms",
        default_text="the cost of the search space's base network",
    )
    min_flops: Count | None = option(
        "Skip networks with fewer FLOPs than this.",
        default=None,
        unit="FLOPs",
        default_text="no limit",
    )
    max_flops: Count | None = option(
        "Skip networks with more FLOPs than this.",
        default=None,
        unit="FLOPs",
        default_text="no limit",
    )
    evaluator: NonEmptyText = option(
        "What scores a network. proxy trains it for a short time, and the others look up or "
        "compute a score.",
        default="proxy",
        values="{evaluators}",
    )
    noise_std: Fraction = option(
        "Standard deviation of the noise that is added to scores which are looked up or computed. "
        "The training noise of Accel-NASBench is 0.0031.",
        default=0.0,
    )
    recipe: NamedRecipe = option(
        "Recipe for the training of a candidate.", default=Recipe(), values=RECIPE_VALUES
    )
    pruner: str = option(
        "Optuna pruner that stops unpromising trainings early.",
        default="none",
        values="{pruners}",
    )
    max_consecutive_failures: PositiveInt = option(
        "Stop the search after this many failed trials in a row.",
        default=10,
        on_resume="may change",
    )
    repeated_networks: Annotated[int, Field(ge=0, le=PROXY_CHECK_NETWORKS)] = option(
        f"Number of networks for the proxy check. When the first {PROXY_CHECK_NETWORKS} networks "
        "have a score, this many of them are trained again with another seed. The difference shows "
        "the training noise. A warning says what to raise if the expected rank correlation "
        "(Kendall's tau) between the scores and means over many seeds is below "
        f"{MIN_RANK_CORRELATION:g}, which is as much noise as there are differences between "
        "networks. Scores that do not depend on a seed are not checked.",
        default=3,
        values=f"2 to {PROXY_CHECK_NETWORKS}, or 0 for no check",
        on_resume="may change",
    )
    finalists: PositiveInt = option(
        "Number of the best candidates that are trained again before the baseline is selected.",
        default=4,
    )
    finalist_seeds: PositiveInt = option("Number of trainings of each finalist.", default=2)
    finalist_recipe: NamedRecipe = option(
        "Recipe for the training of a finalist.", default=VALIDATE, values=RECIPE_VALUES
    )
    reference: NonEmptyText = option(
        "Published network for comparison, which is trained like the finalists (the best "
        "candidates). auto selects efficientnet_b0 where its training takes little time, and none "
        "if search.evaluator is your own function.",
        default="auto",
        values="auto, none, a preset such as efficientnet_b0, a spec file or timm:NAME",
    )

    @model_validator(mode="after")
    def _check_flops_range(self) -> Self:
        if self.min_flops and self.max_flops and self.min_flops > self.max_flops:
            raise invalid(
                "min_flops",
                f"{self.min_flops:,.10g} is above search.max_flops ({self.max_flops:,.10g}); lower "
                "it, or raise search.max_flops",
            )
        return self

    @model_validator(mode="after")
    def _check_learn_from(self) -> Self:
        if self.learn_from and self.strategy != "bayesian":
            raise invalid(
                "learn_from",
                f"has no effect with search.strategy: {self.strategy}; leave it out, or set "
                "search.strategy: bayesian",
            )
        if self.learn_from and self.reward == "pareto":
            raise invalid(
                "learn_from",
                "has no effect with search.reward: pareto; leave it out, or set another reward",
            )
        return self

    @model_validator(mode="after")
    def _check_rates(self) -> Self:
        if self.recipe.check_rates:
            raise invalid(
                "recipe.check_rates",
                "is not available for the trainings of a search, which are too many to check their "
                "networks first; set search.finalist_recipe.check_rates",
            )
        return self

    @model_validator(mode="after")
    def _check_repeated_networks(self) -> Self:
        if self.repeated_networks == 1:
            raise invalid(
                "repeated_networks",
                "1 gives no estimate of the training noise; set 2 or more, or 0 for no check",
            )
        return self

    @model_validator(mode="after")
    def _check_pruner(self) -> Self:
        if self.pruner != "none" and self.reward == "pareto":
            raise invalid(
                "pruner",
                f"{self.pruner} compares one number, and search.reward: pareto has two; set "
                "search.pruner: none",
            )
        if self.pruner != "none" and self.recipe.epochs == 1:
            raise invalid(
                "pruner",
                f"{self.pruner} cannot shorten a training of one epoch (search.recipe.epochs); "
                "set search.pruner: none",
            )
        return self

    @model_validator(mode="after")
    def _check_latency_batch_size(self) -> Self:
        if self.latency_batch_size != 1 and self.cost != "latency":
            raise invalid(
                "latency_batch_size",
                f"{self.latency_batch_size} has no effect with search.cost: {self.cost}; leave it "
                "out, or set search.cost: latency",
            )
        return self

    @model_validator(mode="after")
    def _check_target_cost(self) -> Self:
        if self.reward in ("accuracy", "pareto") and self.target_cost is not None:
            raise invalid(
                "target_cost",
                f"{self.target_cost:g} has no effect with search.reward: {self.reward}; leave it "
                "out, or set search.max_flops",
            )
        return self

    @model_validator(mode="after")
    def _check_reward_exponent(self) -> Self:
        if self.reward == "accuracy" and self.reward_exponent is not None:
            raise invalid(
                "reward_exponent",
                f"{self.reward_exponent} has no effect with search.reward: accuracy; leave it out, "
                "or set search.reward: soft",
            )
        if self.reward_exponent != "auto":
            return self
        if self.reward in ("hard", "absolute"):
            raise invalid(
                "reward_exponent",
                f"auto is available for the soft reward only; give the {self.reward} reward a "
                "number of 0 or below",
            )
        if self.reward == "soft" and self.trials < EXPONENT_ESTIMATION_TRIALS:
            raise invalid(
                "reward_exponent",
                f"auto needs {EXPONENT_ESTIMATION_TRIALS} trials and there are {self.trials}; "
                "raise search.trials, or give a number",
            )
        return self

    @property
    def directions(self) -> tuple[Literal["maximize", "minimize"], ...]:
        """Optuna's directions of a trial's values: its reward, or its score and its cost."""
        return ("maximize", "minimize") if self.reward == "pareto" else ("maximize",)
