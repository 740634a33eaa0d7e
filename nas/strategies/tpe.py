"""The tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011): one joint density over all
choices.

Optuna's own, which intersects the decisions of all trials before each proposal; here all trials
have the same ones (measured at 800 trials with 15 decisions: 75% of the time of a proposal).
"""

import warnings

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState


class JointTPESampler(TPESampler):
    """Multivariate, running trials taken as poor, the first ten trials drawn at random."""

    def __init__(self, *, seed: int) -> None:
        with warnings.catch_warnings():
            # both options are experimental up to Optuna 4
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=10)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        decisions = sorted(finished[0].distributions.items()) if finished else []
        return {name: choices for name, choices in decisions if not choices.single()}
