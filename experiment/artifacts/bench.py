"""The files of `phinas bench strategies`: `bench.json`, and one file for each run."""

from typing import ClassVar, Literal

from pydantic import Field

from phinas.experiment.artifacts.artifact import Artifact, Record
from phinas.experiment.artifacts.manifest import Count, EvaluatorDescription

OptimumSource = Literal["stated", "best_run", "beam_search", "pool"]
Value = bool | int | float | str


class BenchRun(Artifact):
    """One search by one strategy with one seed; lists are in the order of the complete
    evaluations.
    """

    FORMAT: ClassVar[str] = "phinas/bench-run"
    ADVICE: ClassVar[str] = "delete the file and call again"

    rewards: tuple[float, ...] = Field(description="Rewards that the strategy received, with noise")
    true_rewards: tuple[float, ...] = Field(description="Rewards without noise")
    flops: tuple[Count, ...] = Field(description="Multiply-adds of each network")
    spent: tuple[float, ...] = Field(
        description="Evaluations that the run had spent when each result came. A training that is "
        "pruned or paused counts by its epochs"
    )
    seconds: tuple[float, ...] = Field(description="Time of each proposal in s")
    network_ids: tuple[str, ...] = Field(description="network_id of each network")
    decisions: tuple[str, ...] = Field(description="The decisions of the search space, in order")
    choices: tuple[tuple[Value, ...], ...] = Field(
        description="The choices of each network, one value for each decision"
    )


class EvaluationCounts(Record):
    """Evaluations that the runs of a strategy needed; null where they did not reach the reward."""

    lower: float | None = Field(description="Lower quartile over the seeds")
    median: float | None = Field(description="Median over the seeds")
    upper: float | None = Field(description="Upper quartile over the seeds")
    worst: float | None = Field(description="Maximum over the seeds")


class RegretQuartiles(Record):
    """Regret after a number of evaluations: the optimum minus the true reward of the network with
    the best reward so far. Before the first complete evaluation that reward is 0.
    """

    evaluations: Count
    lower: float = Field(description="Lower quartile over the seeds")
    median: float = Field(description="Median over the seeds")
    upper: float = Field(description="Upper quartile over the seeds")


class ProposalTime(Record):
    """Time to propose a network in ms."""

    mean: float = Field(description="Mean over all proposals but the first in ms")
    last_tenth: float = Field(description="Mean over the last tenth of the proposals in ms")


class StrategySummary(Record):
    """The runs of one strategy."""

    runs: Count = Field(description="Number of seeds")
    to_beat_target: EvaluationCounts | None = Field(
        description="Evaluations to a true reward above that of the target network; null: there is "
        "none"
    )
    to_reach_tolerance: EvaluationCounts = Field(
        description="Evaluations to a true reward close to the optimum"
    )
    regret: tuple[RegretQuartiles, ...] = Field(
        description="Regret at fixed numbers of evaluations and at the end"
    )
    proposal_ms: ProposalTime

    @property
    def final_regret(self) -> RegretQuartiles:
        """The regret after all evaluations."""
        return self.regret[-1]


class BenchSummary(Artifact):
    """The comparison of search strategies on one evaluator."""

    FORMAT: ClassVar[str] = "phinas/bench"

    evaluator: str = Field(description="search.evaluator")
    evaluator_description: EvaluatorDescription | None = Field(
        description="The evaluator's description of its scores without noise"
    )
    space: str = Field(description="Name of the search space")
    evaluations: Count = Field(description="Networks that a run may evaluate")
    seeds: Count = Field(description="Runs of each strategy")
    noise_std: float = Field(description="Standard deviation of the noise added to the scores")
    reward: str = Field(description="search.reward")
    target_network: str | None = Field(
        description="The network whose reward strategies should exceed; null: none was named"
    )
    target_reward: float | None = Field(description="Its reward without noise")
    optimum: float = Field(description="The best known reward without noise")
    optimum_source: OptimumSource = Field(
        description="stated: by --optimum or by the evaluator; best_run: the best of all runs; "
        "beam_search: the best of all runs and of a beam search over the whole surrogate; pool: "
        "the best network of the evaluator's pool"
    )
    strategies: dict[str, StrategySummary]
