"""The strategies by name. Each is an Optuna sampler, made anew for every proposal from the problem
and that proposal's seed.

What a strategy proposes is a function of that seed and of the history in the study, so a search
that was killed and resumed proposes what an uninterrupted one would.
"""

from collections.abc import Callable

from optuna.samplers import BaseSampler, RandomSampler

from phinas.experiment.errors import InputError
from phinas.nas.problem import Problem
from phinas.nas.strategies.bayesian import BayesianSampler
from phinas.nas.strategies.evolution import EvolutionSampler
from phinas.nas.strategies.hill_climbing import HillClimbingSampler
from phinas.nas.strategies.nsga2 import NSGA2Sampler
from phinas.nas.strategies.ppo import PPOSampler
from phinas.nas.strategies.tpe import JointTPESampler


def _random(_problem: Problem, seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def _tpe(_problem: Problem, seed: int) -> BaseSampler:
    return JointTPESampler(seed=seed)


def _evolution(_problem: Problem, seed: int) -> BaseSampler:
    return EvolutionSampler(seed=seed)


STRATEGIES: dict[str, Callable[[Problem, int], BaseSampler]] = {
    "bayesian": BayesianSampler,
    "random": _random,
    "tpe": _tpe,
    "evolution": _evolution,
    "hill_climbing": HillClimbingSampler,
    "nsga2": NSGA2Sampler,
    "ppo": PPOSampler,
}

# Those that can look for a front of accuracy against cost (reward: pareto) as well as for the best
# reward.
PARETO_STRATEGIES = ("bayesian", "random", "tpe", "evolution", "nsga2")


def require_strategy(name: str, *, pareto: bool) -> None:
    """Raises InputError where there is no such strategy, or where it can't look for a front and is
    asked to.
    """
    if name not in STRATEGIES:
        raise InputError(
            f"search.strategy: {name!r} is not a strategy; there are: {', '.join(STRATEGIES)}"
        )
    if pareto and name not in PARETO_STRATEGIES:
        pareto_strategies = ", ".join(PARETO_STRATEGIES)
        raise InputError(
            f"search.strategy: {name} looks for one best reward, not for a front (search.reward: "
            f"pareto); {pareto_strategies} can"
        )
