"""The search strategies by name.

This table imports no library, so that help and completion stay quick;
`phinas.nas.strategies.loading` imports the class of an entry when it is needed. A strategy that is
listed here is tested by `phinas.testing`.
"""

from dataclasses import dataclass
from typing import Literal

# Whether a strategy pauses trainings: where the evaluator can pause them and there is no pruner
# ("if_possible"), or only under these conditions ("required").
Pausing = Literal["never", "if_possible", "required"]


@dataclass(frozen=True, slots=True)
class StrategyEntry:
    """A strategy that phinas ships.

    Attributes:
        path: The class, as "module:Class".
        summary: One sentence for help texts and documentation.
        supports_pareto: Whether it can search for the Pareto front (`search.reward: pareto`).
        pausing: Whether it pauses trainings and resumes the most promising ones.
    """

    path: str
    summary: str
    supports_pareto: bool
    pausing: Pausing = "never"


STRATEGIES: dict[str, StrategyEntry] = {
    "bayesian": StrategyEntry(
        "phinas.nas.strategies.bayesian:BayesianStrategy",
        "Bayesian optimization: a Gaussian process models the score, and the exact cost is known.",
        supports_pareto=True,
        pausing="if_possible",
    ),
    "random": StrategyEntry(
        "optuna.samplers:RandomSampler", "Uniform random search.", supports_pareto=True
    ),
    "tpe": StrategyEntry(
        "phinas.nas.strategies.tpe:JointTPESampler",
        "Multivariate tree-structured Parzen estimator, from Optuna.",
        supports_pareto=True,
    ),
    "evolution": StrategyEntry(
        "phinas.nas.strategies.evolution:EvolutionSampler",
        "Regularized evolution: mutate the winner of a tournament among the latest trials.",
        supports_pareto=True,
    ),
    "hill_climbing": StrategyEntry(
        "phinas.nas.strategies.hill_climbing:HillClimbingSampler",
        "Local search with restarts: move to the first better neighbor.",
        supports_pareto=False,
    ),
    "nsga2": StrategyEntry(
        "phinas.nas.strategies.nsga2:NSGA2Sampler",
        "NSGA-II: a multi-objective genetic algorithm on score and cost.",
        supports_pareto=True,
    ),
    "ppo": StrategyEntry(
        "phinas.nas.strategies.ppo:PPOSampler",
        "Reinforcement learning: an LSTM policy trained with PPO, as in MnasNet.",
        supports_pareto=False,
    ),
    "asha": StrategyEntry(
        "phinas.nas.strategies.asha:AshaStrategy",
        "ASHA: train random networks for a few epochs, and resume the best third of them.",
        supports_pareto=False,
        pausing="required",
    ),
}
