"""What more trainings of a race would add: a preposterior analysis (Raiffa and Schlaifer, Applied
Statistical Decision Theory, 1961).

True scores are sampled from the posterior, more trainings of the tied networks are simulated, and
the race is evaluated with them. The gain is the expected score of the winner after these trainings
minus that of the winner before, on average: 0 where it is the same one. It depends on the results
only and not on how long trainings take, so a resumed run has the same.

What the networks of the grid that were not compared could add is an upper bound. In 25 simulated
races of each of four structures of `benchmarks/race_structures.py` (12 networks compared, 48 not)
it was 0.41 points where networks are independent of their neighbors (actual: 0.42), and 0.44, 0.82
and 0.12 points on smooth surfaces and for equal networks (actual: 0.10, 0.34 and 0).
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from phinas.experiment.statistics.posterior import Posterior
from phinas.scaling_search.race.race import Race, Results, TrainingRun
from phinas.scaling_search.race.race_state import (
    RaceState,
    posterior_with_others,
    race_state,
)

Floats = npt.NDArray[np.float64]
_NUM_SAMPLES = 32
_NUM_CHEAP_SAMPLES = 4000  # without more trainings
_MAX_TRAININGS_PER_MEMBER = 20


@dataclass(frozen=True)
class ValueOfMore:
    """What more trainings of the tied networks would add, on average.

    Attributes:
        num_trainings: Full trainings.
        ties: Expected size of the tie set after them.
        gain: Expected increase of the true score of the best network.
        max_gain: The same after any number of trainings.
        max_gain_of_grid: The same after any number of trainings of all networks of the grid, also
            of those that were not compared; None if all were.
    """

    num_trainings: int
    ties: float
    gain: float
    max_gain: float
    max_gain_of_grid: float | None = None


def value_of_more_trainings(
    race: Race, results: Results, count: int, *, other_coordinates: Floats | None = None
) -> ValueOfMore | None:
    """What `count` more trainings would add; None if only one network may be the best, or for fewer
    than two trainings.

    Args:
        race: The settings.
        results: Of all trainings so far.
        count: Full trainings; at most 20 of a network are simulated.
        other_coordinates: Of the networks of the grid that were not compared, as those of the race.
    """
    state = race_state(race, results)
    ties = [
        member
        for member in range(race.num_members)
        if member not in state.excluded and member not in state.failed
    ]
    count = min(count, _MAX_TRAININGS_PER_MEMBER * len(ties))
    if len(ties) < 2 or count < 2:
        return None
    runs = _plan_runs(race, results, ties, state, count)
    longer_race = replace(race, num_seeds=1 + max(run.seed for run in (*runs, *results)))
    generator = np.random.default_rng(0)
    posterior = state.posteriors[state.leader]
    level = _level(race, results, state)
    sizes, gains = [], []
    for truth in _sample_scores(posterior, _NUM_SAMPLES, generator):
        simulated = {
            run: float(
                truth[run.member]
                + level
                + posterior.noise_std * generator.standard_normal()
                + race.flops_adjustment(run.member)
            )
            for run in runs
        }
        later = RaceState.of(longer_race, {**results, **simulated})
        sizes.append(race.num_members - len(later.excluded))
        gains.append(later.score_gap(state.leader))
    scores = _sample_scores(posterior, _NUM_CHEAP_SAMPLES, generator)[:, ties]
    max_gain = float((scores.max(1) - scores[:, ties.index(state.leader)]).mean())
    gain = min(max(0.0, float(np.mean(gains))), max_gain)
    max_gain_of_grid = None
    if other_coordinates is not None and len(other_coordinates):
        candidates = [*ties, *range(race.num_members, race.num_members + len(other_coordinates))]
        scores = _sample_scores(
            posterior_with_others(race, results, other_coordinates), _NUM_CHEAP_SAMPLES, generator
        )
        of_grid = scores[:, candidates].max(1) - scores[:, state.leader]
        max_gain_of_grid = max(max_gain, float(of_grid.mean()))
    return ValueOfMore(len(runs), float(np.mean(sizes)), gain, max_gain, max_gain_of_grid)


def _plan_runs(
    race: Race, results: Results, ties: list[int], state: RaceState, count: int
) -> list[TrainingRun]:
    """The next trainings: the networks most likely to be best first, each up to the most trainings
    of any; then all with one more.
    """
    seeds = {
        member: {run.seed for run in results if run.member == member and run.epochs == race.epochs}
        for member in ties
    }
    ties = sorted(ties, key=lambda member: -state.probabilities[member])
    runs: list[TrainingRun] = []
    while len(runs) < count:
        largest = max(len(trained) for trained in seeds.values())
        member = next((member for member in ties if len(seeds[member]) < largest), ties[0])
        seed = next(seed for seed in range(len(seeds[member]) + 1) if seed not in seeds[member])
        seeds[member].add(seed)
        runs.append(TrainingRun(member, seed, race.epochs))
    return runs


def _level(race: Race, results: Results, state: RaceState) -> float:
    """The leader's mean adjusted score minus its posterior mean, which has no level."""
    scores = [
        value - race.flops_adjustment(run.member)
        for run, value in results.items()
        if value is not None
        and run.member == state.leader
        and run.epochs == race.epochs
        and run not in state.diverged
    ]
    posterior = state.posteriors[state.leader]
    return float(np.mean(scores) - (posterior.weights @ posterior.means)[state.leader])


def _sample_scores(posterior: Posterior, count: int, generator: np.random.Generator) -> Floats:
    """Samples of all members' true scores, of shape (count, members)."""
    components = generator.choice(len(posterior.weights), count, p=posterior.weights)
    normal = generator.standard_normal((count, posterior.means.shape[1]))
    freedom = posterior.degrees_of_freedom
    divisors = np.sqrt(generator.chisquare(freedom, count) / freedom)
    return posterior.scores(components, normal, divisors)
