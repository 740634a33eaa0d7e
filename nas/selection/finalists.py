"""The selection of the finalists: the networks that are trained again to select the baseline.

The network with the best reward of a search owes a part of it to training noise. A model of all
trials (phinas.nas.surrogate) predicts the reward of each network without that noise. The rewards of
all networks are sampled jointly from the model. Then finalists are added one by one: each time the
network that most increases the reward of the best finalist, averaged over the samples. So a network
is selected for a high or an uncertain reward, but not if it resembles another finalist.

benchmarks/finalists.md compares this with selection by the highest reward and by the highest
probability of being best. That probability is not reported, because it is far too high after few
trials.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky

from phinas.experiment.seeds import derive_seed
from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.problem import Problem
from phinas.nas.reward import Reward
from phinas.nas.surrogate.accuracy_model import MIN_TRIALS, failed_to_learn, fit_accuracy_model
from phinas.nas.surrogate.gaussian_process import FloatArray, GaussianProcess, single_threaded_blas
from phinas.nas.trial import Trial
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import SpecError

_NUM_SAMPLES = 2000
# Only the most promising networks are sampled, as the time grows with the cube of their number.
_MAX_JOINT_NETWORKS = 400


@dataclass(frozen=True, slots=True)
class Finalist:
    """A network to train again.

    Attributes:
        trial: Its trial of the search.
        expected_score: Predicted score of a training with the recipe of the search. None if there
            were too few trials for a model.
    """

    trial: Trial
    expected_score: float | None = None


@single_threaded_blas()
def select_finalists(
    candidates: Sequence[Trial],
    trials: Sequence[Trial],
    space: SearchSpace,
    reward: Reward,
    *,
    count: int,
    seed: int,
) -> list[Finalist]:
    """Select the finalists.

    Args:
        candidates: The trials to select from.
        trials: All trials of the search, to which the model is fitted.
        space: The search space.
        reward: The reward.
        count: Maximum number of finalists.
        seed: Seed of the run.

    Returns:
        The finalists in the order of their selection. If there are too few trials for a model,
        those with the highest rewards.
    """
    by_reward = sorted(candidates, key=lambda trial: -trial.reward)
    fitted_model = _fit_model(trials, space, reward)
    modeled_trials = (
        [trial for trial in by_reward if trial.number in fitted_model.rows] if fitted_model else []
    )
    slope, intercept = reward.linear_coefficients(
        [trial.get_cost(reward.cost_metric) for trial in modeled_trials]
    )
    if (
        fitted_model is None
        or len(modeled_trials) < min(count, len(by_reward))
        or not np.isfinite(slope + intercept).all()
    ):
        return [Finalist(trial) for trial in by_reward[:count]]
    features = fitted_model.features(modeled_trials)
    mean, std = fitted_model.model.predict(features)
    top_indices = np.argsort(-(slope * (mean + 2 * std) + intercept), kind="stable")[
        :_MAX_JOINT_NETWORKS
    ]
    score_samples = sample_joint(
        *fitted_model.model.predict_joint(features[top_indices]),
        np.random.default_rng(derive_seed(seed, "draw finalists")),
    )
    selected = top_indices[
        greedy_best_subset(slope[top_indices] * score_samples + intercept[top_indices], count)
    ]
    return [Finalist(modeled_trials[index], float(mean[index])) for index in selected]


@dataclass(frozen=True)
class _FittedModel:
    """A model of the scores.

    Attributes:
        problem: The search problem, which encodes networks.
        model: The fitted process.
        rows: Indices of the choices of each modeled network, by the number of its trial.
    """

    problem: Problem
    model: GaussianProcess
    rows: dict[int, list[int]]

    def features(self, trials: Sequence[Trial]) -> FloatArray:
        return self.problem.features(np.array([self.rows[trial.number] for trial in trials]))


def _fit_model(trials: Sequence[Trial], space: SearchSpace, reward: Reward) -> _FittedModel | None:
    """A model of the trainings that did not fail.

    Returns:
        None if there are too few of them, or if a network is not in the space.
    """
    is_failed = failed_to_learn(np.array([trial.score for trial in trials]))
    learned_trials = [trial for trial, failed in zip(trials, is_failed, strict=True) if not failed]
    if len(learned_trials) < MIN_TRIALS:
        return None
    try:
        rows = [
            space.to_indices(trial.choices or encode(space, trial.spec)) for trial in learned_trials
        ]
    except SpecError:
        return None
    problem = Problem(space, CostConstraint(), reward)
    scores = np.array([[trial.score] for trial in learned_trials])
    model = fit_accuracy_model(problem.features, np.array(rows), scores).process
    return _FittedModel(
        problem, model, {trial.number: row for trial, row in zip(learned_trials, rows, strict=True)}
    )


def greedy_best_subset(samples: FloatArray, count: int) -> list[int]:
    """Greedily select columns whose maximum has the highest mean over the rows.

    Args:
        samples: (samples, networks).
        count: Maximum number of columns.
    """
    selected: list[int] = []
    best_so_far = np.full(len(samples), -np.inf)
    for _ in range(min(count, samples.shape[1])):
        gains = np.maximum(best_so_far[:, None], samples).mean(axis=0)
        gains[selected] = -np.inf
        selected.append(int(gains.argmax()))
        best_so_far = np.maximum(best_so_far, samples[:, selected[-1]])
    return selected


def sample_joint(
    mean: FloatArray, covariance: FloatArray, generator: np.random.Generator
) -> FloatArray:
    """Sample a normal distribution.

    A small value is added to the diagonal of the covariance, which may be singular.

    Returns:
        Shape (samples, networks).
    """
    jitter = 1e-9 * np.trace(covariance) / len(mean) + np.finfo(float).tiny
    factor = cholesky(covariance + jitter * np.eye(len(mean)), lower=True, check_finite=False)
    return mean + generator.standard_normal((_NUM_SAMPLES, len(mean))) @ factor.T
