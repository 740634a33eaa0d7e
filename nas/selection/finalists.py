"""Which of the measured networks are trained again: those among which the best may be expected to
be the best.

The winner of a noisy search is partly luck. What all trials say together (`phinas.nas.surrogate`)
says less lucky things of each: the rewards of all of them are drawn from what is believed, many
times, and finalists are added one by one so that the mean over the draws of the best among them
grows most. So a network is taken for a high reward, or for a doubtful one, but not as the double of
another. Measured against the highest rewards, and against the highest chances of being the best, in
benchmarks/finalists.md. (The chances themselves are not told: those of few trials promise far too
much.)
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
from phinas.nas.surrogate.blas_threads import single_threaded_blas
from phinas.nas.surrogate.gaussian_process import FloatArray, GaussianProcess
from phinas.nas.trial import Trial
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import SpecError

_NUM_SAMPLES = 2000
_MAX_JOINT_NETWORKS = (
    400  # networks drawn jointly, the most promising: the work grows with their cube
)


@dataclass(frozen=True, slots=True)
class Finalist:
    """expected_accuracy: of a training as in the search, without its luck; None where nothing could
    be learned.
    """

    trial: Trial
    expected_accuracy: float | None = None


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
    """At most `count` of `candidates` (some of `trials`), in the order of what they add; the
    highest rewards where nothing can be learned from `trials`."""
    by_reward = sorted(candidates, key=lambda trial: -trial.reward)
    fitted_model = _fit_model(trials, space, reward)
    modeled_trials = (
        [trial for trial in by_reward if trial.number in fitted_model.rows] if fitted_model else []
    )
    slope, intercept = reward.linear_coefficients(
        [trial.get_cost(reward.metric) for trial in modeled_trials]
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
    reward_samples = sample_joint(
        *fitted_model.model.predict_joint(features[top_indices]),
        np.random.default_rng(derive_seed(seed, "draw finalists")),
    )
    selected = top_indices[
        greedy_best_subset(slope[top_indices] * reward_samples + intercept[top_indices], count)
    ]
    return [Finalist(modeled_trials[index], float(mean[index])) for index in selected]


@dataclass(frozen=True)
class _FittedModel:
    """rows: the positions of each network that was learned from, by the number of its trial."""

    problem: Problem
    model: GaussianProcess
    rows: dict[int, list[int]]

    def features(self, trials: Sequence[Trial]) -> FloatArray:
        return self.problem.features(np.array([self.rows[trial.number] for trial in trials]))


def _fit_model(trials: Sequence[Trial], space: SearchSpace, reward: Reward) -> _FittedModel | None:
    """What the trainings that did not go wrong say; None where they are too few, or not of this
    space.
    """
    is_failed = failed_to_learn(np.array([trial.accuracy for trial in trials]))
    learned_trials = [trial for trial, failed in zip(trials, is_failed, strict=True) if not failed]
    if len(learned_trials) < MIN_TRIALS:
        return None
    try:
        rows = [space.to_indices(encode(space, trial.spec)) for trial in learned_trials]
    except SpecError:
        return None
    problem = Problem(space, CostConstraint(), reward)
    model = fit_accuracy_model(
        problem.features, np.array(rows), np.array([trial.accuracy for trial in learned_trials])
    )
    return _FittedModel(
        problem, model, {trial.number: row for trial, row in zip(learned_trials, rows, strict=True)}
    )


def greedy_best_subset(samples: FloatArray, count: int) -> list[int]:
    """Columns, at most `count`, whose best is highest on average over the rows: greedily, which is
    nearly the best set.
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
    """(draws, networks) of a normal distribution; a little is added to the diagonal, which may be
    singular.
    """
    jitter = 1e-9 * np.trace(covariance) / len(mean) + np.finfo(float).tiny
    factor = cholesky(covariance + jitter * np.eye(len(mean)), lower=True, check_finite=False)
    return mean + generator.standard_normal((_NUM_SAMPLES, len(mean))) @ factor.T
