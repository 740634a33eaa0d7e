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

from phinas.experiment.seeds import seed_of
from phinas.nas.cost_constraint import Gate
from phinas.nas.problem import Problem
from phinas.nas.reward import Reward
from phinas.nas.surrogate.accuracy_model import LEAST, learn_accuracy, went_wrong
from phinas.nas.surrogate.blas_threads import single_threaded_blas
from phinas.nas.surrogate.gaussian_process import Floats, GaussianProcess
from phinas.nas.trial import Trial
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import SpecError

_DRAWS = 2000
_DRAWN = 400  # networks drawn jointly, the most promising: the work grows with their cube


@dataclass(frozen=True, slots=True)
class Finalist:
    """expected_accuracy: of a training as in the search, without its luck; None where nothing could
    be learned.
    """

    trial: Trial
    expected_accuracy: float | None = None


@single_threaded_blas()
def pick_finalists(
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
    learned = _learned(trials, space, reward)
    compared = [trial for trial in by_reward if trial.number in learned.rows] if learned else []
    slope, intercept = reward.line([trial.cost_in(reward.metric) for trial in compared])
    if (
        learned is None
        or len(compared) < min(count, len(by_reward))
        or not np.isfinite(slope + intercept).all()
    ):
        return [Finalist(trial) for trial in by_reward[:count]]
    features = learned.features(compared)
    mean, deviation = learned.model.predict(features)
    likely = np.argsort(-(slope * (mean + 2 * deviation) + intercept), kind="stable")[:_DRAWN]
    drawn = draw_jointly(
        *learned.model.joint(features[likely]),
        np.random.default_rng(seed_of(seed, "draw finalists")),
    )
    taken = likely[best_together(slope[likely] * drawn + intercept[likely], count)]
    return [Finalist(compared[place], float(mean[place])) for place in taken]


@dataclass(frozen=True)
class _Learned:
    """rows: the positions of each network that was learned from, by the number of its trial."""

    problem: Problem
    model: GaussianProcess
    rows: dict[int, list[int]]

    def features(self, trials: Sequence[Trial]) -> Floats:
        return self.problem.features(np.array([self.rows[trial.number] for trial in trials]))


def _learned(trials: Sequence[Trial], space: SearchSpace, reward: Reward) -> _Learned | None:
    """What the trainings that did not go wrong say; None where they are too few, or not of this
    space.
    """
    wrong = went_wrong(np.array([trial.accuracy for trial in trials]))
    usable = [trial for trial, failed in zip(trials, wrong, strict=True) if not failed]
    if len(usable) < LEAST:
        return None
    try:
        rows = [space.indices(encode(space, trial.spec)) for trial in usable]
    except SpecError:
        return None
    problem = Problem(space, Gate(), reward)
    model = learn_accuracy(
        problem.features, np.array(rows), np.array([trial.accuracy for trial in usable])
    )
    return _Learned(
        problem, model, {trial.number: row for trial, row in zip(usable, rows, strict=True)}
    )


def best_together(draws: Floats, count: int) -> list[int]:
    """Columns, at most `count`, whose best is highest on average over the rows: greedily, which is
    nearly the best set.
    """
    chosen: list[int] = []
    best = np.full(len(draws), -np.inf)
    for _ in range(min(count, draws.shape[1])):
        gains = np.maximum(best[:, None], draws).mean(axis=0)
        gains[chosen] = -np.inf
        chosen.append(int(gains.argmax()))
        best = np.maximum(best, draws[:, chosen[-1]])
    return chosen


def draw_jointly(mean: Floats, covariance: Floats, generator: np.random.Generator) -> Floats:
    """(draws, networks) of a normal distribution; a little is added to the diagonal, which may be
    singular.
    """
    little = 1e-9 * np.trace(covariance) / len(mean) + np.finfo(float).tiny
    factor = cholesky(covariance + little * np.eye(len(mean)), lower=True, check_finite=False)
    return mean + generator.standard_normal((_DRAWS, len(mean))) @ factor.T
