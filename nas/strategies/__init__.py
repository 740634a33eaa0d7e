"""The strategies by name. Each is an Optuna sampler, made anew for every proposal from the problem and that proposal's seed.

What a strategy proposes is a function of that seed and of the history in the study, so a search that was killed and resumed
proposes what an uninterrupted one would.
"""

from collections.abc import Callable

from optuna.samplers import BaseSampler, RandomSampler

from nas.problem import Problem
from nas.strategies.evolution import EvolutionSampler
from nas.strategies.local import LocalSampler
from nas.strategies.nsga2 import NSGA2Sampler
from nas.strategies.ppo import PPOSampler
from nas.strategies.predictor import PredictorSampler
from nas.strategies.tpe import JointTPESampler


def _random(_problem: Problem, seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def _tpe(_problem: Problem, seed: int) -> BaseSampler:
    return JointTPESampler(seed=seed)


def _evolution(_problem: Problem, seed: int) -> BaseSampler:
    return EvolutionSampler(seed=seed)


STRATEGIES: dict[str, Callable[[Problem, int], BaseSampler]] = {
    "predictor": PredictorSampler,
    "random": _random,
    "tpe": _tpe,
    "evolution": _evolution,
    "local": LocalSampler,
    "nsga2": NSGA2Sampler,
    "ppo": PPOSampler,
}
